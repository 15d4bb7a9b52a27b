//! Rust source without what only looks like code: comments and texts become blanks, lines stay.

/// The source with comments, character and string literals blanked.
#[must_use]
pub fn bare(source: &str) -> String {
    let bytes = source.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = match bytes[at] {
            b'/' if bytes.get(at + 1) == Some(&b'/') => line_end(bytes, at),
            b'/' if bytes.get(at + 1) == Some(&b'*') => comment_end(bytes, at),
            b'"' => string_end(bytes, at + 1),
            b'r' if !within_word(bytes, at) => match raw_end(bytes, at + 1) {
                Some(end) => end,
                None => {
                    at += 1;
                    continue;
                }
            },
            b'\'' => match char_end(bytes, at) {
                Some(end) => end,
                None => {
                    at += 1;
                    continue;
                }
            },
            _ => {
                at += 1;
                continue;
            }
        };
        let end = end.min(bytes.len());
        for byte in &mut out[at..end] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        at = end;
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn line_end(bytes: &[u8], at: usize) -> usize {
    let rest = bytes[at..].iter().position(|b| *b == b'\n');
    rest.map_or(bytes.len(), |n| at + n)
}

fn comment_end(bytes: &[u8], mut at: usize) -> usize {
    let mut depth = 0;
    while at + 1 < bytes.len() {
        match &bytes[at..at + 2] {
            b"/*" => {
                depth += 1;
                at += 2;
            }
            b"*/" => {
                depth -= 1;
                at += 2;
                if depth == 0 {
                    return at;
                }
            }
            _ => at += 1,
        }
    }
    bytes.len()
}

fn string_end(bytes: &[u8], mut at: usize) -> usize {
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// End of the raw string whose `r` was just before `at`, or `None` if it is none.
fn raw_end(bytes: &[u8], at: usize) -> Option<usize> {
    let hashes = bytes[at..].iter().take_while(|b| **b == b'#').count();
    if bytes.get(at + hashes) != Some(&b'"') {
        return None;
    }
    let mut close = vec![b'"'];
    close.extend(std::iter::repeat_n(b'#', hashes));
    let body = at + hashes + 1;
    let length = bytes[body..]
        .windows(close.len())
        .position(|w| w == close)
        .map_or(bytes.len(), |n| body + n + close.len());
    Some(length)
}

/// End of the character literal at `at`, or `None` for a lifetime.
fn char_end(bytes: &[u8], at: usize) -> Option<usize> {
    if bytes.get(at + 1) == Some(&b'\\') {
        let close = bytes[at + 3..].iter().position(|b| *b == b'\'')?;
        return Some(at + 3 + close + 1);
    }
    // One character of up to four bytes, then the closing quote.
    (2..=5)
        .find(|n| bytes.get(at + n) == Some(&b'\''))
        .and_then(|n| {
            let inner = std::str::from_utf8(&bytes[at + 1..at + n]).ok()?;
            (inner.chars().count() == 1).then_some(at + n + 1)
        })
}

fn within_word(bytes: &[u8], at: usize) -> bool {
    // `br"…"` is a literal too, so a `b` in front does not count.
    at > 0 && is_word(bytes[at - 1]) && bytes[at - 1] != b'b'
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// Numbers of the lines (from 1) in which `word` stands as a whole word.
#[must_use]
pub fn lines_with_word(bare: &str, word: &str) -> Vec<usize> {
    let whole = |line: &str| {
        line.match_indices(word).any(|(at, _)| {
            let before = at
                .checked_sub(1)
                .is_none_or(|i| !is_word(line.as_bytes()[i]));
            let after = line.as_bytes().get(at + word.len());
            before && after.is_none_or(|b| !is_word(*b))
        })
    };
    numbered(bare, whole)
}

/// Numbers of the lines (from 1) that contain `text`.
#[must_use]
pub fn lines_with(bare: &str, text: &str) -> Vec<usize> {
    numbered(bare, |line| line.contains(text))
}

fn numbered(text: &str, wanted: impl Fn(&str) -> bool) -> Vec<usize> {
    let lines = text.lines().enumerate();
    lines
        .filter(|(_, l)| wanted(l))
        .map(|(n, _)| n + 1)
        .collect()
}

/// Bare source without items under `#[cfg(test)]`.
#[must_use]
pub fn shipped(source: &str) -> String {
    let mut out = bare(source).into_bytes();
    let mut from = 0;
    while let Some(at) = find(&out, b"#[cfg(test)]", from) {
        let end = item_end(&out, at + b"#[cfg(test)]".len());
        for byte in &mut out[at..end] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        from = end;
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn find(bytes: &[u8], wanted: &[u8], from: usize) -> Option<usize> {
    let rest = bytes.get(from..)?;
    let at = rest.windows(wanted.len()).position(|w| w == wanted)?;
    Some(from + at)
}

/// Where the item that begins after `at` ends: its `;` or the brace that closes it.
fn item_end(bytes: &[u8], at: usize) -> usize {
    let mut depth = 0_usize;
    for (n, byte) in bytes[at..].iter().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' if depth == 1 => return at + n + 1,
            b'}' => depth = depth.saturating_sub(1),
            b';' if depth == 0 => return at + n + 1,
            _ => {}
        }
    }
    bytes.len()
}

/// Lines that hold code: not blank, not a comment, not under `#[cfg(test)]`.
#[must_use]
pub fn count(source: &str) -> usize {
    let shipped = shipped(source);
    shipped.lines().filter(|l| !l.trim().is_empty()).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_texts_are_no_code() {
        let source = "let a = \"unsafe \\\" unsafe\"; // unsafe\n/* unsafe /* x */ unsafe */ let b = 'u';\n\
                      let c = r#\"unsafe\"# ; let d: &'static str = br\"unsafe\"; unsafe {}\n";
        assert_eq!(lines_with_word(&bare(source), "unsafe"), [3]);
        assert_eq!(bare(source).len(), source.len());
        assert!(bare("fn f<'a>(x: &'a str) { g('\\'', 'é', '\\u{1}') } h").ends_with("h"));
        assert!(bare("let r = for_r; x").ends_with("x"));
    }

    #[test]
    fn words_are_whole() {
        assert!(lines_with_word("forbid(unsafe_code)", "unsafe").is_empty());
        assert_eq!(lines_with_word("unsafe{}", "unsafe"), [1]);
    }

    #[test]
    fn tests_are_not_shipped() {
        let source = "fn a() {}\n#[cfg(test)]\nmod tests { fn b() { if x { y } } }\nfn c() {}\n";
        let left = shipped(source);
        assert!(left.contains("fn a") && left.contains("fn c") && !left.contains("fn b"));
        assert_eq!(count(source), 2);
    }
}
