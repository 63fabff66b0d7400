//! Which port of a card a link is.

use super::Link;

impl Link {
    /// Whether the link stands for a function behind its card's switch (switchdev mode). It shares the card's bus
    /// address and is not the card.
    pub fn is_representor(&self) -> bool {
        self.phys_port_name.as_deref().is_some_and(is_representor)
    }
}

/// Whether a port's name is one of a function behind the card's switch: `pf0vf3`, `c1pf0sf88`, and `pf0` alone (the
/// host seen from a card of its own), but not `p0`, the way out.
fn is_representor(port: &str) -> bool {
    let digits = |text: &str| -> Option<usize> {
        let count = text.bytes().take_while(u8::is_ascii_digit).count();
        (count > 0).then_some(count)
    };
    let after = |text: &str, word: &str| -> Option<String> {
        let rest = text.strip_prefix(word)?;
        Some(rest.get(digits(rest)?..)?.to_owned())
    };
    let port = after(port, "c").unwrap_or_else(|| port.to_owned());
    let Some(rest) = after(&port, "pf") else {
        return false;
    };
    let function = after(&rest, "vf").or_else(|| after(&rest, "sf"));
    rest.is_empty() || function.is_some_and(|rest| rest.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn representors_are_told_from_ways_out() {
        for port in ["pf0vf3", "c1pf0sf88", "pf0", "pf10vf255"] {
            assert!(is_representor(port), "{port}");
        }
        for port in [
            "p0", "p1s2", "", "pf", "pfvf", "pf0vf", "c1", "pf0vf1x", "vf1",
        ] {
            assert!(!is_representor(port), "{port}");
        }
    }
}
