//! `multipart/form-data` as it comes (RFC 7578, RFC 2046).

use bytes::{Buf, Bytes, BytesMut};

/// Longest head of a part, in bytes.
const MAX_HEAD: usize = 16 * 1024;
/// Longest boundary (RFC 2046).
const MAX_BOUNDARY: usize = 70;

/// What comes next in the body.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Event {
    /// A part begins.
    Part {
        /// Name of the form field.
        name: String,
        /// Name of the file, in full.
        filename: Option<String>,
    },
    /// More of the part's content.
    Data(Bytes),
    /// The part is complete.
    EndOfPart,
    /// So is the form; what follows is ignored.
    End,
}

/// Why a body is not a form.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("malformed multipart body: {0}")]
pub(super) struct BadForm(&'static str);

#[derive(Clone, Copy, Eq, PartialEq)]
enum State {
    /// Before the first boundary.
    Preamble,
    /// Right behind a boundary.
    Boundary,
    Head,
    Content,
    End,
}

/// Cuts a body into parts, whatever the chunks it comes in.
pub(super) struct Parser {
    /// `\r\n--boundary`.
    delimiter: Vec<u8>,
    buffer: BytesMut,
    state: State,
}

impl Parser {
    /// For the boundary that a `Content-Type` names.
    ///
    /// # Errors
    /// It names none.
    pub(super) fn new(content_type: &str) -> Result<Self, BadForm> {
        let boundary = parameter(content_type, "boundary").ok_or(BadForm("no boundary"))?;
        if boundary.is_empty() || boundary.len() > MAX_BOUNDARY {
            return Err(BadForm("a boundary has 1 to 70 characters"));
        }
        Ok(Self {
            delimiter: [b"\r\n--", boundary.as_bytes()].concat(),
            // The first boundary may stand at the very start, without a line end in front.
            buffer: BytesMut::from(&b"\r\n"[..]),
            state: State::Preamble,
        })
    }

    /// Takes more of the body.
    pub(super) fn push(&mut self, chunk: &[u8]) {
        if self.state != State::End {
            self.buffer.extend_from_slice(chunk);
        }
    }

    /// The next event, or `None` until more of the body comes.
    ///
    /// # Errors
    /// The body is no form.
    pub(super) fn next_event(&mut self) -> Result<Option<Event>, BadForm> {
        loop {
            match self.state {
                State::Preamble => match find(&self.buffer, &self.delimiter) {
                    Some(at) => {
                        self.buffer.advance(at + self.delimiter.len());
                        self.state = State::Boundary;
                    }
                    None => {
                        self.buffer.advance(self.safe_length());
                        return Ok(None);
                    }
                },
                State::Boundary => match self.buffer.as_ref() {
                    [b'-', b'-', ..] => {
                        self.buffer.clear();
                        self.state = State::End;
                        return Ok(Some(Event::End));
                    }
                    [b'\r', b'\n', ..] => {
                        // The head's first line end: an empty head is `\r\n\r\n` as well.
                        self.state = State::Head;
                    }
                    [b' ' | b'\t', ..] => self.buffer.advance(1),
                    [] | [b'-' | b'\r'] => return Ok(None),
                    _ => return Err(BadForm("text behind a boundary")),
                },
                State::Head => match find(&self.buffer, b"\r\n\r\n") {
                    Some(at) if at <= MAX_HEAD => {
                        let head = self.buffer.split_to(at + 4);
                        self.state = State::Content;
                        return part(&head).map(Some);
                    }
                    None if self.buffer.len() <= MAX_HEAD => return Ok(None),
                    _ => return Err(BadForm("the head of a part is too long")),
                },
                State::Content => {
                    if let Some(at) = find(&self.buffer, &self.delimiter) {
                        if at > 0 {
                            return Ok(Some(Event::Data(self.buffer.split_to(at).freeze())));
                        }
                        self.buffer.advance(self.delimiter.len());
                        self.state = State::Boundary;
                        return Ok(Some(Event::EndOfPart));
                    }
                    let length = self.safe_length();
                    if length == 0 {
                        return Ok(None);
                    }
                    return Ok(Some(Event::Data(self.buffer.split_to(length).freeze())));
                }
                State::End => return Ok(None),
            }
        }
    }

    /// Bytes that cannot be part of a delimiter whose rest is still to come.
    fn safe_length(&self) -> usize {
        let keep = self.delimiter.len() - 1;
        let tail = self.buffer.len().saturating_sub(keep);
        // Only a carriage return can begin one.
        let begins = self.buffer[tail..].iter().position(|byte| *byte == b'\r');
        begins.map_or(self.buffer.len(), |at| tail + at)
    }

    /// Says that the body ended.
    ///
    /// # Errors
    /// It ended inside the form.
    pub(super) fn finish(&self) -> Result<(), BadForm> {
        if self.state == State::End {
            Ok(())
        } else {
            Err(BadForm("it ends before its last boundary"))
        }
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    let mut from = 0;
    loop {
        let at = from
            + haystack[from..]
                .iter()
                .position(|byte| *byte == needle[0])?;
        let rest = &haystack[at..];
        if rest.len() < needle.len() {
            return None;
        }
        if rest.starts_with(needle) {
            return Some(at);
        }
        from = at + 1;
    }
}

fn part(head: &[u8]) -> Result<Event, BadForm> {
    let head = std::str::from_utf8(head).map_err(|_| BadForm("the head of a part is not UTF-8"))?;
    let disposition = head
        .split("\r\n")
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.trim().eq_ignore_ascii_case("content-disposition"))
        .map(|(_, value)| value)
        .ok_or(BadForm("a part without Content-Disposition"))?;
    Ok(Event::Part {
        name: parameter(disposition, "name").unwrap_or_default(),
        filename: parameter(disposition, "filename"),
    })
}

/// A parameter of a header value: `type; name=token; name="quoted"`. Within quotes `\"` and `\\` stand for
/// the second character; any other backslash stands for itself, as in file names of Windows.
fn parameter(value: &str, wanted: &str) -> Option<String> {
    let mut rest = value.split_once(';')?.1;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ';']);
        let (name, tail) = rest.split_once('=')?;
        let found = name.trim().eq_ignore_ascii_case(wanted);
        let tail = tail.trim_start();
        let mut out = String::new();
        if let Some(quoted) = tail.strip_prefix('"') {
            let mut characters = quoted.char_indices().peekable();
            loop {
                match characters.next()? {
                    (at, '"') => {
                        rest = &quoted[at + 1..];
                        break;
                    }
                    (_, '\\')
                        if characters
                            .peek()
                            .is_some_and(|(_, next)| "\"\\".contains(*next)) =>
                    {
                        out.extend(characters.next().map(|(_, next)| next));
                    }
                    (_, character) => out.push(character),
                }
            }
        } else {
            let end = tail.find(';').unwrap_or(tail.len());
            out.push_str(tail[..end].trim());
            rest = &tail[end..];
        }
        if found {
            return Some(out);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Part = (String, Option<String>, Vec<u8>);

    fn parse(body: &[u8], step: usize) -> Result<Vec<Part>, BadForm> {
        let mut parser = Parser::new("multipart/form-data; boundary=\"b-1\"")?;
        let mut parts = Vec::new();
        for chunk in body.chunks(step) {
            parser.push(chunk);
            while let Some(event) = parser.next_event()? {
                match event {
                    Event::Part { name, filename } => parts.push((name, filename, Vec::new())),
                    Event::Data(data) => parts
                        .last_mut()
                        .expect("data is in a part")
                        .2
                        .extend_from_slice(&data),
                    Event::EndOfPart | Event::End => {}
                }
            }
        }
        parser.finish()?;
        Ok(parts)
    }

    #[test]
    fn a_form_as_clients_write_it() {
        let body = b"--b-1\r\nContent-Disposition: form-data; name=\"file\"; filename=\"/a/\\\"b\\\\.txt\"\r\nContent-Type: text/plain\r\n\r\nline\r\n--b-2\r\n\r\n--b-1 \r\ncontent-disposition: form-data; name=x\r\n\r\n\r\n--b-1--\r\nepilogue";
        for step in 1..body.len() {
            let parts = parse(body, step).expect("a form");
            assert_eq!(
                parts,
                [
                    (
                        "file".into(),
                        Some("/a/\"b\\.txt".into()),
                        b"line\r\n--b-2\r\n".to_vec()
                    ),
                    ("x".into(), None, Vec::new()),
                ]
            );
        }
    }

    #[test]
    fn broken_forms_are_refused() {
        for body in [
            &b""[..],
            b"--b-1",
            b"--b-1x\r\n",
            b"--b-1\r\n\r\nno head\r\n--b-1--",
            b"--b-1\r\nContent-Disposition: form-data; name=file\r\n\r\nno end",
        ] {
            assert!(parse(body, 100).is_err(), "{}", body.escape_ascii());
        }
        assert!(parse(&[&b"--b-1\r\n"[..], &[b'a'; 2 * MAX_HEAD]].concat(), 999).is_err());
        assert!(Parser::new("multipart/form-data").is_err());
    }

    proptest! {
        #[test]
        fn any_content_survives_any_chunking(
            contents in proptest::collection::vec(proptest::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'-'), Just(b'b'), any::<u8>()], 0..60), 1..4),
            step in 1_usize..40,
        ) {
            let mut body = Vec::new();
            for (index, content) in contents.iter().enumerate() {
                prop_assume!(find(content, b"\r\n--b-1").is_none() && !content.starts_with(b"--b-1"));
                body.extend(format!("--b-1\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{index}\"\r\n\r\n").bytes());
                body.extend(content);
                body.extend(b"\r\n");
            }
            body.extend(b"--b-1--\r\n");
            let parts = parse(&body, step).expect("a form");
            let got: Vec<_> = parts.into_iter().map(|(_, _, content)| content).collect();
            prop_assert_eq!(got, contents);
        }

        #[test]
        fn no_bytes_make_it_panic(body in proptest::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'-'), Just(b'b'), Just(b'1'), any::<u8>()], 0..200), step in 1_usize..40) {
            let _ = parse(&body, step);
        }

        #[test]
        fn no_parameter_makes_it_panic(text in "[a-z;=\" \\\\]{0,40}|\\PC{0,40}") {
            let _ = parameter(&text, "name");
        }
    }
}
