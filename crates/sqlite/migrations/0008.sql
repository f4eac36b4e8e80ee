-- What things may name: groups, types and policies of the fleet file.

CREATE TABLE registry (
    kind       TEXT NOT NULL CHECK (kind = 'group' OR kind = 'thing_type' OR kind = 'policy'),
    name       TEXT NOT NULL,
    definition TEXT NOT NULL,
    PRIMARY KEY (kind, name)
) STRICT, WITHOUT ROWID;

-- What has been named by now is there: an update refuses no device that was welcome before it.
INSERT INTO registry (kind, name, definition)
SELECT DISTINCT 'group', g.value, json_object('description', '', 'name', g.value)
FROM thing t, json_each(t.groups) g;

INSERT INTO registry (kind, name, definition)
SELECT DISTINCT 'group', g.value, json_object('description', '', 'name', g.value)
FROM product p, json_each(p.definition, '$.groups') g
WHERE true
ON CONFLICT (kind, name) DO NOTHING;

INSERT INTO registry (kind, name, definition)
SELECT DISTINCT 'thing_type', t.type, json_object('description', '', 'name', t.type)
FROM thing t WHERE t.type IS NOT NULL;

INSERT INTO registry (kind, name, definition)
SELECT 'policy', name, json_object('description', '', 'name', name)
FROM policy WHERE document IS NULL;
