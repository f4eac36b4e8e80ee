-- What was never registered, and what was, in the day that began last and in the day before it (days
-- since 1970); and the hour in which it was last told that a claim is held back.
ALTER TABLE claim ADD COLUMN lost_day       INTEGER NOT NULL DEFAULT 0;
ALTER TABLE claim ADD COLUMN lost_in_it     INTEGER NOT NULL DEFAULT 0;
ALTER TABLE claim ADD COLUMN lost_before    INTEGER NOT NULL DEFAULT 0;
ALTER TABLE claim ADD COLUMN joined_day     INTEGER NOT NULL DEFAULT 0;
ALTER TABLE claim ADD COLUMN joined_in_it   INTEGER NOT NULL DEFAULT 0;
ALTER TABLE claim ADD COLUMN joined_before  INTEGER NOT NULL DEFAULT 0;
ALTER TABLE claim ADD COLUMN told_hour      INTEGER NOT NULL DEFAULT 0;
