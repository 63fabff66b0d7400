//! Errors as people read them.

use std::error::Error;

/// An error and its causes as one sentence: `read the claim: connection refused`.
pub fn sentence(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let said = cause.to_string();
        // Some libraries print their cause themselves.
        if !text.ends_with(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Layer {
        text: &'static str,
        #[source]
        cause: Option<Box<Layer>>,
    }

    fn layers(texts: &[&'static str]) -> Layer {
        let (first, rest) = texts.split_first().unwrap();
        let cause = (!rest.is_empty()).then(|| Box::new(layers(rest)));
        Layer { text: first, cause }
    }

    #[test]
    fn causes_follow_and_none_is_said_twice() {
        for (texts, want) in [
            (
                &["read the claim", "refused"][..],
                "read the claim: refused",
            ),
            (&["send: broken pipe", "broken pipe"], "send: broken pipe"),
            (&["late"], "late"),
        ] {
            assert_eq!(sentence(&layers(texts)), want);
        }
    }
}
