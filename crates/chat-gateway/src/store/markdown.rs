//! A conversation as Markdown, for reading.

use std::fmt::Write as _;

use crate::protocol::record::{Author, Message, Part, Status};
use crate::store::Exported;

impl Exported {
    /// The path to the newest message, as Markdown. Other branches are left out: JSON has them.
    #[must_use]
    pub fn to_markdown(&self) -> String {
        let mut page = format!("# {}\n", self.conversation.title.replace('\n', " "));
        for message in self.path() {
            let author = match message.role {
                Author::User => "You",
                Author::Assistant => "Assistant",
            };
            // Writing to a string cannot fail.
            write!(page, "\n## {author}\n\n").ok();
            for part in &message.content {
                match part {
                    Part::Text { text } => page.push_str(text),
                    Part::Image { .. } => page.push_str("*(an image)*"),
                }
                page.push_str("\n\n");
            }
            if let Some(answer) = &message.answer {
                page.push_str(&answer.text);
                page.push('\n');
                if answer.status != Status::Done {
                    page.push_str("\n*(this answer is not whole)*\n");
                }
            }
        }
        page.truncate(page.trim_end().len());
        page.push('\n');
        page
    }

    /// The messages from the root to the leaf.
    fn path(&self) -> Vec<&Message> {
        let mut path = Vec::new();
        let mut wanted = self.conversation.leaf;
        // Each message comes after its parent, so one walk backwards meets them all.
        for message in self.messages.iter().rev() {
            if wanted == Some(message.id) {
                path.push(message);
                wanted = message.parent;
            }
        }
        path.reverse();
        path
    }
}
