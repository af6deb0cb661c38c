//! Numbers: llama.cpp holds the bounds of integers, and none of other numbers.

use serde_json::{Number, Value};

use super::super::facts::{Facts, Stated};
use super::super::node::{Bounds, Node};
use super::super::source::{Exclusive, Keywords};
use super::{Builder, Unsupported};

/// The farthest bound, which has as many digits as llama.cpp writes right.
const LIMIT: i64 = 999_999_999_999_999;
/// The largest minimum that llama.cpp holds alone: from two digits on it forgets zeros.
const MAX_LONE_MIN: i64 = 9;

/// A whole number.
pub(super) fn integer(
    builder: &mut Builder<'_>,
    facts: &Facts<'_>,
    path: &str,
) -> Result<Option<Node>, Unsupported> {
    let mut low: Option<i128> = None;
    let mut high: Option<i128> = None;
    for stated in &facts.numbers {
        let keywords = stated.keywords;
        low = low.max(lowest(keywords));
        high = [high, highest(keywords)].into_iter().flatten().min();
        if keywords
            .multiple_of
            .as_ref()
            .is_some_and(|n| n.as_f64() != Some(1.0))
        {
            builder.unheld(&stated.path, "multipleOf")?;
        }
    }
    let limit = i128::from(LIMIT);
    if low.is_some_and(|low| low > limit) {
        builder.unheld(path, "minimum")?;
        low = None;
    }
    if high.is_some_and(|high| high < -limit) {
        builder.unheld(path, "maximum")?;
        high = None;
    }
    let low = low
        .filter(|low| *low >= -limit)
        .and_then(|low| i64::try_from(low).ok());
    let high = high
        .filter(|high| *high <= limit)
        .and_then(|high| i64::try_from(high).ok());
    Ok(match (low, high) {
        (Some(low), Some(high)) if low > high => None,
        (low, high) => Some(Node::Integer(safe(low, high))),
    })
}

/// A number with or without a fraction.
pub(super) fn number(
    builder: &mut Builder<'_>,
    facts: &Facts<'_>,
    path: &str,
) -> Result<Option<Node>, Unsupported> {
    let is_whole = facts.numbers.iter().any(|stated| {
        let multiple = stated.keywords.multiple_of.as_ref();
        multiple.is_some_and(|n| n.as_f64() == Some(1.0))
    });
    if is_whole {
        return integer(builder, facts, path);
    }
    for stated in &facts.numbers {
        let keywords = stated.keywords;
        for (keyword, is_here) in [
            ("minimum", keywords.minimum.is_some()),
            ("maximum", keywords.maximum.is_some()),
            (
                "exclusiveMinimum",
                matches!(keywords.exclusive_minimum, Some(Exclusive::Number(_))),
            ),
            (
                "exclusiveMaximum",
                matches!(keywords.exclusive_maximum, Some(Exclusive::Number(_))),
            ),
            ("multipleOf", keywords.multiple_of.is_some()),
        ] {
            if is_here {
                builder.unheld(&stated.path, keyword)?;
            }
        }
    }
    Ok(Some(Node::Number))
}

/// Whether the bounds allow `value`, if it is a number.
pub(super) fn allows(stated: &[Stated<'_>], value: &Value) -> bool {
    let Some(value) = value.as_f64() else {
        return true;
    };
    stated.iter().all(|stated| {
        let keywords = stated.keywords;
        let min = keywords.minimum.as_ref().and_then(Number::as_f64);
        let max = keywords.maximum.as_ref().and_then(Number::as_f64);
        let above = excluded(keywords.exclusive_minimum.as_ref(), min);
        let below = excluded(keywords.exclusive_maximum.as_ref(), max);
        min.is_none_or(|min| value >= min)
            && max.is_none_or(|max| value <= max)
            && above.is_none_or(|above| value > above)
            && below.is_none_or(|below| value < below)
    })
}

fn excluded(exclusive: Option<&Exclusive>, beside: Option<f64>) -> Option<f64> {
    match exclusive? {
        Exclusive::Flag(is_on) => {
            if *is_on {
                beside
            } else {
                None
            }
        }
        Exclusive::Number(bound) => bound.as_f64(),
    }
}

fn lowest(keywords: &Keywords) -> Option<i128> {
    let plain = keywords.minimum.as_ref().map(|n| whole(n, f64::ceil));
    let above = match &keywords.exclusive_minimum {
        Some(Exclusive::Number(n)) => Some(whole(n, f64::floor) + 1),
        Some(Exclusive::Flag(true)) => keywords.minimum.as_ref().map(|n| whole(n, f64::floor) + 1),
        _ => None,
    };
    plain.max(above)
}

fn highest(keywords: &Keywords) -> Option<i128> {
    let plain = keywords.maximum.as_ref().map(|n| whole(n, f64::floor));
    let below = match &keywords.exclusive_maximum {
        Some(Exclusive::Number(n)) => Some(whole(n, f64::ceil) - 1),
        Some(Exclusive::Flag(true)) => keywords.maximum.as_ref().map(|n| whole(n, f64::ceil) - 1),
        _ => None,
    };
    [plain, below].into_iter().flatten().min()
}

fn whole(number: &Number, round: fn(f64) -> f64) -> i128 {
    /// Far from the ends, so that one more or less is still a number.
    const FAR: f64 = 1e30;
    match number.as_i128() {
        Some(exact) => exact,
        None => round(number.as_f64().unwrap_or_default()).clamp(-FAR, FAR) as i128,
    }
}

/// The same bounds where llama.cpp gets one alone right, and a second one at the limit where it does not.
fn safe(low: Option<i64>, high: Option<i64>) -> Bounds {
    match (low, high) {
        (Some(low), None) if low > MAX_LONE_MIN => Bounds {
            min: Some(low),
            max: Some(LIMIT),
        },
        (None, Some(high)) if high < 0 => Bounds {
            min: Some(-LIMIT),
            max: Some(high),
        },
        (min, max) => Bounds { min, max },
    }
}
