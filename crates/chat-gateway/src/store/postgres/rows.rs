//! The columns of each record. They are named one by one: a newer gateway may add a column while this one runs, and a
//! prepared `SELECT *` would then fail.

/// The columns of a `ConversationRow`.
macro_rules! conversation_columns {
    () => {
        "id, title, created_ms, updated_ms, revision, temporary, pinned, folder, system, leaf"
    };
}

/// The columns of a `MessageRow`, of the table called `m`.
macro_rules! message_columns {
    () => {
        "m.conversation, m.id, m.parent, m.created_ms, m.content, m.status, m.written, m.runs, m.finish_reason, \
         m.error, m.usage, m.timings, m.context, m.options"
    };
}

pub(super) use {conversation_columns, message_columns};
