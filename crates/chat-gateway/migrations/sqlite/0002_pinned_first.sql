-- The list shows pinned conversations before the others, the last changed first among each.

DROP INDEX conversations_listed;
CREATE INDEX conversations_listed ON conversations (owner, pinned, updated_ms, id) WHERE temporary = 0;
