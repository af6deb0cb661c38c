-- A deleted conversation can be brought back for a moment. Meanwhile it is nobody's: its owner is the empty string, which
-- no user has, so no statement that names an owner finds it. `deleted_owner` says who may have it back.

ALTER TABLE conversations ADD COLUMN deleted_owner TEXT;
ALTER TABLE conversations ADD COLUMN deleted_ms INTEGER;
CREATE INDEX conversations_deleted ON conversations (deleted_ms) WHERE deleted_ms IS NOT NULL;
