//! Pages in two languages stay level: `X.zh-CN.md` has the headings, lists, tables and code of `X.md`, in its order.
//!
//! What the sentences say is not compared. Code is the same but for its comments; a block without a language may hold
//! words to translate, so of such a block only its place counts.

/// How the name of a translated page ends, before `.md`.
const SUFFIX: &str = ".zh-CN.md";

/// A part of a page that its translation has too.
#[derive(Debug, PartialEq, Eq)]
enum PageBlock {
    /// With its level.
    Heading(usize),
    ListItem,
    /// A row of a table, with the number of its bars.
    Row(usize),
    /// With the word behind its fence, and its lines without their comments.
    Code(String, Vec<String>),
}

impl PageBlock {
    fn name(&self) -> String {
        match self {
            Self::Heading(level) => format!("a heading of level {level}"),
            Self::ListItem => "an item of a list".to_owned(),
            Self::Row(bars) => format!("a row of {} cells", bars.saturating_sub(1)),
            Self::Code(language, lines) => {
                let first = lines.iter().find(|line| !line.is_empty());
                let first = first.map_or("", String::as_str);
                format!("a block of code ({language}) that begins with `{first}`")
            }
        }
    }
}

/// The first difference of each translated page among `pages`, which are paths with their texts.
pub(super) fn differences(pages: &[(String, String)]) -> Vec<String> {
    let mut problems = Vec::new();
    for (path, text) in pages {
        let Some(name) = path.strip_suffix(SUFFIX) else {
            continue;
        };
        let original = format!("{name}.md");
        match pages.iter().find(|(other, _)| *other == original) {
            Some((_, english)) => problems.extend(difference(&original, english, path, text)),
            None => problems.push(format!("{path}: there is no {original} that it translates")),
        }
    }
    problems
}

fn difference(original: &str, english: &str, path: &str, text: &str) -> Option<String> {
    let wanted = blocks(english);
    let found = blocks(text);
    let same = wanted.iter().zip(&found);
    let at = same
        .take_while(|((_, wanted), (_, found))| wanted == found)
        .count();
    let wanted = wanted.get(at);
    let found = found.get(at);
    if wanted.is_none() && found.is_none() {
        return None;
    }
    Some(format!(
        "{}, but {}: bring both pages to the same state",
        place(path, found),
        place(original, wanted)
    ))
}

fn place(path: &str, block: Option<&(usize, PageBlock)>) -> String {
    match block {
        Some((line, block)) => format!("{path}:{line} has {}", block.name()),
        None => format!("{path} has ended"),
    }
}

/// The blocks of a page, each with the number of its first line.
fn blocks(text: &str) -> Vec<(usize, PageBlock)> {
    let mut found = Vec::new();
    let mut code: Option<(usize, String, Vec<String>)> = None;
    for (index, line) in text.lines().enumerate() {
        let trimmed = line.trim_start();
        if let Some(language) = trimmed.strip_prefix("```") {
            match code.take() {
                Some((line, language, lines)) => {
                    found.push((line, PageBlock::Code(language, lines)));
                }
                None => code = Some((index + 1, language.to_owned(), Vec::new())),
            }
        } else if let Some((_, language, lines)) = &mut code {
            if !language.is_empty() {
                lines.push(without_comment(line));
            }
        } else if let Some(block) = block(trimmed) {
            found.push((index + 1, block));
        }
    }
    found
}

fn block(line: &str) -> Option<PageBlock> {
    let level = line
        .chars()
        .take_while(|&character| character == '#')
        .count();
    let digits = line.trim_start_matches(|character: char| character.is_ascii_digit());
    if level > 0 && line[level..].starts_with(' ') {
        Some(PageBlock::Heading(level))
    } else if line.starts_with('|') {
        Some(PageBlock::Row(line.matches('|').count()))
    } else if line.starts_with("- ") || (digits != line && digits.starts_with(". ")) {
        Some(PageBlock::ListItem)
    } else {
        None
    }
}

/// `line` up to a comment: `# ` or `// ` at its beginning or behind a space.
fn without_comment(line: &str) -> String {
    let comment = ["# ", "// "]
        .iter()
        .flat_map(|mark| line.match_indices(mark))
        .map(|(at, _)| at)
        .filter(|&at| at == 0 || line[..at].ends_with(' '))
        .min();
    line[..comment.unwrap_or(line.len())].trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::differences;

    const ENGLISH: &str = "# A\n\nWords.\n\n- one\n1. two\n\n| a | b |\n|---|---|\n\n\
                           ```sh\nrun a://b  # now\n```\n\n```\na picture\n```\n";
    const CHINESE: &str = "# 甲\n\n一句话。再一句。\n\n- 一\n1. 二\n\n| 甲 | 乙 |\n|---|---|\n\n\
                           ```sh\nrun a://b  # 现在\n```\n\n```\n一幅图\n```\n";

    fn of(english: &str, chinese: &str) -> Vec<String> {
        differences(&[
            ("docs/a.md".to_owned(), english.to_owned()),
            ("docs/a.zh-CN.md".to_owned(), chinese.to_owned()),
        ])
    }

    #[test]
    fn pages_with_the_same_blocks_are_level_whatever_they_say() {
        assert_eq!(of(ENGLISH, CHINESE), [""; 0]);
    }

    #[test]
    fn a_block_that_only_one_page_has_is_found_with_both_places() {
        let longer = ENGLISH.replace("\n```sh", "\n## B\n\n```sh");
        assert_eq!(
            of(&longer, CHINESE),
            [
                "docs/a.zh-CN.md:11 has a block of code (sh) that begins with `run a://b`, but docs/a.md:11 has a \
                 heading of level 2: bring both pages to the same state"
            ]
        );
        let shorter = CHINESE.replace("|---|---|\n", "");
        assert_eq!(of(ENGLISH, &shorter).len(), 1);
        assert_eq!(
            of(ENGLISH, &format!("{CHINESE}\n- 三\n")),
            [
                "docs/a.zh-CN.md:19 has an item of a list, but docs/a.md has ended: bring both pages to the same state"
            ]
        );
    }

    #[test]
    fn code_is_the_same_but_for_its_comments() {
        let other = CHINESE.replace("a://b", "a://c");
        assert_eq!(of(ENGLISH, &other).len(), 1);
        let row = CHINESE.replace("| 甲 | 乙 |", "| 甲 |");
        assert_eq!(of(ENGLISH, &row).len(), 1);
        let deeper = CHINESE.replace("# 甲", "## 甲");
        assert_eq!(of(ENGLISH, &deeper).len(), 1);
    }

    #[test]
    fn a_translation_of_no_page_is_found() {
        let alone = [("a.zh-CN.md".to_owned(), String::new())];
        assert_eq!(
            differences(&alone),
            ["a.zh-CN.md: there is no a.md that it translates"]
        );
    }
}
