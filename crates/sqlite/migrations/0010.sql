-- The key under which the TPM of an entry takes what is sealed for it, as it was shown last: a
-- TPM2B_PUBLIC. A device that asks for its operation does not show it again.

ALTER TABLE entry ADD COLUMN storage_key BLOB;
