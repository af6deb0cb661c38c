-- Conversations, their messages, the requests that made them, and what search reads.
-- Ids are UUIDs as 16 bytes. Times are milliseconds since 1970. JSON has the shapes of `protocol::record`.

CREATE TABLE conversations (
    id          BLOB PRIMARY KEY NOT NULL CHECK (length(id) = 16),
    owner       TEXT NOT NULL,
    owner_tag   TEXT NOT NULL,
    title       TEXT NOT NULL,
    created_ms  INTEGER NOT NULL,
    updated_ms  INTEGER NOT NULL,
    revision    INTEGER NOT NULL,
    temporary   INTEGER NOT NULL,
    pinned      INTEGER NOT NULL DEFAULT 0,
    folder      TEXT,
    system      TEXT,
    leaf        BLOB
) STRICT;
CREATE INDEX conversations_listed ON conversations (owner, updated_ms, id) WHERE temporary = 0;
CREATE INDEX conversations_aged ON conversations (temporary, updated_ms);

-- `n` is the order in which messages came. From `status` on, the columns are an answer's.
CREATE TABLE messages (
    n             INTEGER PRIMARY KEY,
    id            BLOB NOT NULL UNIQUE CHECK (length(id) = 16),
    conversation  BLOB NOT NULL REFERENCES conversations (id) ON DELETE CASCADE,
    parent        BLOB REFERENCES messages (id),
    created_ms    INTEGER NOT NULL,
    content       TEXT NOT NULL,
    status        TEXT,
    written       TEXT NOT NULL DEFAULT '',
    runs          TEXT NOT NULL DEFAULT '[]',
    finish_reason TEXT,
    error         TEXT,
    usage         TEXT,
    timings       TEXT,
    context       TEXT,
    options       TEXT NOT NULL DEFAULT '{}'
) STRICT;
CREATE INDEX messages_paged ON messages (conversation, n);
CREATE INDEX messages_followed ON messages (parent);
CREATE INDEX messages_unfinished ON messages (status) WHERE status IN ('waiting', 'running');

-- What the same request again is answered with.
CREATE TABLE requests (
    owner         TEXT NOT NULL,
    id            TEXT NOT NULL,
    digest        BLOB NOT NULL,
    created_ms    INTEGER NOT NULL,
    conversation  BLOB NOT NULL,
    revision      INTEGER NOT NULL,
    message       BLOB NOT NULL,
    answer        BLOB NOT NULL,
    options       TEXT NOT NULL,
    PRIMARY KEY (owner, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX requests_aged ON requests (created_ms);
CREATE INDEX requests_of_conversation ON requests (conversation);

-- A request outlives its conversation, so that it is not done again; its words do not.
CREATE TRIGGER conversations_deleted AFTER DELETE ON conversations BEGIN
    UPDATE requests SET options = '{}' WHERE conversation = old.id;
END;

-- Tokens that an owner spent, by days since 1970 in UTC.
CREATE TABLE tokens_spent (
    owner   TEXT NOT NULL,
    day     INTEGER NOT NULL,
    tokens  INTEGER NOT NULL,
    PRIMARY KEY (owner, day)
) STRICT, WITHOUT ROWID;
CREATE INDEX tokens_spent_aged ON tokens_spent (day);

-- What search reads: titles (without a message), questions, and answers that have ended. `owner_tag` is in the index, too,
-- so that a search need not look at what others wrote.
CREATE TABLE texts (
    n             INTEGER PRIMARY KEY,
    conversation  BLOB NOT NULL REFERENCES conversations (id) ON DELETE CASCADE,
    owner_tag     TEXT NOT NULL,
    message       BLOB UNIQUE REFERENCES messages (id) ON DELETE CASCADE,
    text          TEXT NOT NULL
) STRICT;
CREATE INDEX texts_of_conversation ON texts (conversation, n);
CREATE UNIQUE INDEX texts_titles ON texts (conversation) WHERE message IS NULL;

CREATE VIRTUAL TABLE texts_found USING fts5 (
    owner_tag, text, content = 'texts', content_rowid = 'n', tokenize = 'trigram'
);
CREATE TRIGGER texts_added AFTER INSERT ON texts BEGIN
    INSERT INTO texts_found (rowid, owner_tag, text) VALUES (new.n, new.owner_tag, new.text);
END;
CREATE TRIGGER texts_removed AFTER DELETE ON texts BEGIN
    INSERT INTO texts_found (texts_found, rowid, owner_tag, text)
    VALUES ('delete', old.n, old.owner_tag, old.text);
END;
CREATE TRIGGER texts_changed AFTER UPDATE ON texts BEGIN
    INSERT INTO texts_found (texts_found, rowid, owner_tag, text)
    VALUES ('delete', old.n, old.owner_tag, old.text);
    INSERT INTO texts_found (rowid, owner_tag, text) VALUES (new.n, new.owner_tag, new.text);
END;
