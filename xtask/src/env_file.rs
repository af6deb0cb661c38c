//! Reads an env file as Compose reads it, or refuses the line.
//!
//! `dotenvy` reads the lines. It and Compose disagree about some of them (a `$`, a backslash, a quote inside a value,
//! several lines), so such a line is an error that says what to write instead. Values are never printed.

use std::path::Path;

use anyhow::{Context as _, Result, anyhow, bail};

use crate::say;

/// Names and values in the order of the file. The last value of a name counts.
pub(crate) type Pairs = Vec<(String, String)>;

/// Reads the file at `path`.
///
/// # Errors
///
/// When the file cannot be read, or Compose would read another value from one of its lines: with the line's number.
pub(crate) fn read(path: &Path) -> Result<Pairs> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    parse(&path.display().to_string(), &text)
}

/// Reads `text`, the content of the file called `file`.
///
/// # Errors
///
/// As [`read`].
pub(crate) fn parse(file: &str, text: &str) -> Result<Pairs> {
    let mut pairs = Pairs::new();
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for (index, line) in text.lines().enumerate() {
        let pair =
            parse_line(line).map_err(|problem| anyhow!("{file}:{}: {problem}", index + 1))?;
        if let Some((name, value)) = pair {
            pairs.retain(|(earlier, _)| *earlier != name);
            pairs.push((name, value));
        }
    }
    Ok(pairs)
}

/// `text`, the content of an env file, with these values set: on the line that sets each name now, otherwise on new lines at
/// the end. All other lines stay, comments too.
///
/// # Errors
///
/// When a value cannot be written so that Compose reads the same.
pub(crate) fn with_values(text: &str, values: &[(&str, &str)]) -> Result<String> {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    for (name, value) in values {
        let line = format!("{name}={value}");
        let read = parse_line(&line).with_context(|| format!("{name} cannot be {value}"))?;
        if read != Some(((*name).to_owned(), (*value).to_owned())) {
            bail!("{name} cannot be written to an env file: {value}");
        }
        // The last one counts.
        match lines.iter().rposition(|line| sets(line, name)) {
            Some(at) => lines[at] = line,
            None => lines.push(line),
        }
    }
    Ok(lines.join("\n") + "\n")
}

/// Sets values in the env file at `path`, which is made if it is missing, and prints what changes.
///
/// # Errors
///
/// When the file cannot be read or written, or a value cannot be written.
pub(crate) fn write(path: &Path, values: &[(&str, &str)]) -> Result<()> {
    let before = match std::fs::read_to_string(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        read => read.with_context(|| format!("cannot read {}", path.display()))?,
    };
    let after = with_values(&before, values)?;
    say::line(format_args!("{}:", path.display()));
    for (name, _) in values {
        let old = before.lines().rfind(|line| sets(line, name));
        let new = after.lines().rfind(|line| sets(line, name));
        if old == new {
            say::line(format_args!("    {}", new.unwrap_or_default()));
            continue;
        }
        if let Some(old) = old {
            say::line(format_args!("  - {old}"));
        }
        say::line(format_args!("  + {}", new.unwrap_or_default()));
    }
    // A reader sees the old file or the new one, and the new one is as closed to others as the old one.
    let beside = path.with_extension("new");
    if path.exists() {
        std::fs::copy(path, &beside)
            .with_context(|| format!("cannot write {}", beside.display()))?;
    }
    std::fs::write(&beside, after)
        .and_then(|()| std::fs::rename(&beside, path))
        .with_context(|| format!("cannot write {}", path.display()))
}

/// Whether `line` sets `name`.
fn sets(line: &str, name: &str) -> bool {
    matches!(parse_line(line), Ok(Some((found, _))) if found == name)
}

/// The pair of one line; `None` for an empty line and for a comment.
fn parse_line(line: &str) -> Result<Option<(String, String)>> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let Some((name, value)) = line.split_once('=') else {
        bail!("expected NAME=VALUE");
    };
    if name.ends_with(char::is_whitespace) {
        bail!("remove the space before the =");
    }
    if let Some(problem) = disputed(value.trim_start()) {
        bail!("{problem}");
    }
    let Some(Ok((name, value))) = dotenvy::from_read_iter(line.as_bytes()).next() else {
        bail!("expected NAME=VALUE, with quotes around a value that has spaces");
    };
    if !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        bail!("a name may have letters, digits and underscores only");
    }
    Ok(Some((name, value)))
}

/// Why `value` has another meaning for Compose than for dotenvy, and what to write instead.
fn disputed(value: &str) -> Option<&'static str> {
    if value.contains(char::is_control) {
        return Some("replace the tab or control character with a space");
    }
    let quote = value
        .chars()
        .next()
        .filter(|first| matches!(first, '\'' | '"'));
    let (text, rest) = match quote {
        Some(quote) => match value[1..].split_once(quote) {
            Some(parts) => parts,
            None => return Some("the closing quote is missing; a value must end on its own line"),
        },
        None => value.split_once(" #").unwrap_or((value, "")),
    };
    match quote {
        Some(_) if !rest.is_empty() && !rest.trim_start().starts_with('#') => {
            Some("only a comment may follow the closing quote")
        }
        Some(_) if rest.starts_with('#') => Some("put a space before the # of the comment"),
        Some('\'') if text.ends_with('\\') => Some(
            "some versions of Compose take \\' for a quote; end the value with another character",
        ),
        Some('\'') => None,
        _ if text.contains('$') => {
            Some("Compose replaces what follows a $; put the value in single quotes")
        }
        _ if text.contains('\\') => Some("put a value with a backslash in single quotes"),
        None if text.contains(['\'', '"']) => Some("put a value with a quote inside in quotes"),
        None if value.starts_with('#') => Some("put a value that begins with # in quotes"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{Pairs, parse, with_values, write};
    use crate::compose::asked;

    fn pairs(list: &[(&str, &str)]) -> Pairs {
        list.iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    /// Lines that set `A`, and the value that they give it.
    const UNDERSTOOD: [(&str, &str); 21] = [
        ("A=x", "x"),
        ("\u{feff}A=x", "x"),
        ("  A= x  ", "x"),
        ("A=x\r", "x"),
        ("export A=x", "x"),
        ("export\tA=x # a comment", "x"),
        ("A=x # it's a comment of $5", "x"),
        ("A=x #a comment", "x"),
        ("A=x#y", "x#y"),
        ("A=x=y", "x=y"),
        ("A=", ""),
        ("A=\"\"", ""),
        ("A=\"x y\" # a comment", "x y"),
        ("A=\"x # y\"", "x # y"),
        ("A='#x'", "#x"),
        ("A='$HOME and ${HOME}'", "$HOME and ${HOME}"),
        ("A='x\\ny'", "x\\ny"),
        ("A=\"it's\"", "it's"),
        ("A='say \"x\"'", "say \"x\""),
        ("A=x\nA=y", "y"),
        ("A=x\nA=", ""),
    ];

    #[test]
    fn an_env_file_is_read_as_compose_reads_it() {
        for (text, value) in UNDERSTOOD {
            assert_eq!(
                parse("f", text).unwrap(),
                pairs(&[("A", value)]),
                "{text:?}"
            );
        }
        assert_eq!(parse("f", "# a comment\n\n").unwrap(), []);
        let proxy = "https_proxy=http://p:3128";
        assert_eq!(
            parse("f", proxy).unwrap(),
            pairs(&[("https_proxy", "http://p:3128")])
        );
    }

    #[test]
    fn an_env_file_with_another_meaning_for_compose_is_refused() {
        for text in [
            "A",
            "=x",
            "A =x",
            "A: x",
            "A.B=x",
            "exportA",
            "A=x y",
            "A=$HOME",
            "A=\"$HOME\"",
            "A=x$",
            "A=#x",
            "A= # a comment",
            "A=x\t# a comment",
            "A=x\"y\"",
            "A=x\\y",
            "A=\"x",
            "A=\"x\ny\"",
            "A=\"x\\ny\"",
            "A='it\\'s'",
            "A=\"x\"y",
            "A='x'# a comment",
            "A=x\0y",
        ] {
            let problem = parse(".env.dev", &format!("# first\n{text}"))
                .unwrap_err()
                .to_string();
            assert!(problem.starts_with(".env.dev:2: "), "{text:?}: {problem}");
        }
    }

    #[test]
    fn an_error_names_the_file_the_line_and_what_to_write() {
        assert_eq!(
            parse(".env.local", "A=x\nB=$x").unwrap_err().to_string(),
            ".env.local:2: Compose replaces what follows a $; put the value in single quotes"
        );
    }

    #[test]
    fn values_are_set_in_place_and_everything_else_stays() {
        let before = "# mine\nA=x # old\nexport B='y'\nA=z\n\nC=1";
        let after = with_values(before, &[("A", "new"), ("D", "8192"), ("B", "")]).unwrap();
        assert_eq!(after, "# mine\nA=x # old\nB=\nA=new\n\nC=1\nD=8192\n");
        assert!(with_values(before, &[("A", "two words")]).is_err());
        assert!(with_values(before, &[("A", "$HOME")]).is_err());
    }

    #[test]
    fn a_file_that_is_missing_is_made() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(".env.local");
        write(&path, &[("A", "1")]).unwrap();
        write(&path, &[("B", "2"), ("A", "3")]).unwrap();
        assert_eq!(std::fs::read_to_string(path).unwrap(), "A=3\nB=2\n");
    }

    /// Every line of up to five characters behind the `=` that can matter. Whatever is understood, Compose must
    /// understand as well, and must see the same value.
    #[test]
    fn compose_reads_the_same_values() {
        let mut lines: Vec<String> = UNDERSTOOD
            .iter()
            .map(|(text, _)| (*text).to_owned())
            .collect();
        let mut values = vec![String::new()];
        while values[0].len() < 5 {
            values = values
                .iter()
                .flat_map(|value| {
                    "n #'\"\\$"
                        .chars()
                        .map(move |next| format!("{value}{next}"))
                })
                .collect();
            lines.extend(values.iter().map(|value| format!("A={value}")));
        }
        let understood: Vec<(String, String)> = lines
            .into_iter()
            .filter_map(|text| {
                let (_, value) = parse("f", &text).ok()?.pop()?;
                Some((text, value))
            })
            .collect();
        assert!(understood.len() > 500, "{}", understood.len());

        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("compose.yml");
        let env_file = folder.path().join("env");
        let mut stack = String::from("services:\n  s:\n    image: x\n    environment:\n");
        let mut env = String::new();
        for (number, (text, _)) in understood.iter().enumerate() {
            let text = text.trim_start_matches('\u{feff}');
            env += &text.replace("A=", &format!("A{number}="));
            env += "\n";
            stack += &format!("      A{number}: ${{A{number}}}\n");
        }
        std::fs::write(&file, stack).unwrap();
        std::fs::write(&env_file, format!("\u{feff}{env}")).unwrap();
        let arguments = ["--env-file".as_ref(), &*env_file, "-f".as_ref(), &*file];
        let Some(config) = asked::config(&arguments) else {
            return;
        };
        for (number, (text, value)) in understood.iter().enumerate() {
            // `config` escapes what its own reader would substitute.
            let read = config["services"]["s"]["environment"][format!("A{number}")].as_str();
            assert_eq!(read.unwrap().replace("$$", "$"), *value, "{text:?}");
        }
    }
}
