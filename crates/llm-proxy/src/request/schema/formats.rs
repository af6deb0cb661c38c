//! Formats as patterns. Each pattern takes a part of what the format allows, so what matches it holds the format.

/// The pattern that holds `format`, if there is one.
pub(super) fn pattern(format: &str) -> Option<String> {
    Some(match format {
        "date" => format!("^{DATE}$"),
        "time" => format!("^{TIME}$"),
        "date-time" => format!("^{DATE}T{TIME}$"),
        "uuid" => {
            "^[0-9a-f]{8}-[0-9a-f]{4}-[1-5][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$".to_owned()
        }
        "duration" => {
            "^P([1-9][0-9]{0,3}[YMWD]|T[1-9][0-9]{0,4}[HMS]|[1-9][0-9]{0,3}DT[1-9][0-9]{0,4}[HMS])$"
                .to_owned()
        }
        "email" | "idn-email" => {
            format!(
                "^[A-Za-z0-9_+-]{{1,20}}(\\.[A-Za-z0-9_+-]{{1,20}}){{0,2}}@{LABEL}(\\.{LABEL}){{0,2}}\\.[A-Za-z]{{2,12}}$"
            )
        }
        "hostname" | "idn-hostname" => format!("^{LABEL}(\\.{LABEL}){{0,4}}$"),
        "ipv4" => format!("^{BYTE}(\\.{BYTE}){{3}}$"),
        "ipv6" => "^[0-9a-f]{1,4}(:[0-9a-f]{1,4}){7}$".to_owned(),
        _ => return None,
    })
}

/// Every day that each year has.
const DATE: &str = "[0-9]{4}-((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)|\
                    02-(0[1-9]|1[0-9]|2[0-8]))";
const TIME: &str =
    "([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,6})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])";
/// A part of a host's name; without a hyphen, which may not be everywhere.
const LABEL: &str = "[A-Za-z0-9]{1,20}";
const BYTE: &str = "(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])";

/// Whether the word only tells how a number or text is stored, and asks for nothing.
pub(super) fn says_nothing(format: &str) -> bool {
    matches!(
        format,
        "" | "int32"
            | "int64"
            | "uint32"
            | "uint64"
            | "float"
            | "double"
            | "decimal"
            | "enum"
            | "string"
            | "password"
            | "text"
            | "textarea"
            | "markdown"
    )
}
