//! A conversation as Markdown, for reading.

use crate::protocol::record::{AnswerStatus, Author, ContentPart, Message};
use crate::store::Exported;

impl Exported {
    /// The path to the newest message, as Markdown. Other branches are left out: JSON has them.
    #[must_use]
    pub fn to_markdown(&self) -> String {
        let title = self.conversation.title.replace('\n', " ");
        let mut blocks = vec![format!("# {title}")];
        for message in self.path() {
            blocks.push(
                match message.role {
                    Author::User => "## You",
                    Author::Assistant => "## Assistant",
                }
                .to_owned(),
            );
            blocks.extend(message.content.iter().map(|part| match part {
                ContentPart::Text { text } => text.clone(),
                ContentPart::Image { .. } => "*(an image)*".to_owned(),
            }));
            let Some(answer) = &message.answer else {
                continue;
            };
            blocks.push(answer.text.clone());
            if answer.status != AnswerStatus::Done {
                blocks.push("*(this answer is not whole)*".to_owned());
            }
        }
        blocks.retain(|block| !block.is_empty());
        blocks.join("\n\n") + "\n"
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
