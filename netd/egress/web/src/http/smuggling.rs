//! Servers that read requests more generously than egressd, each in its own way, find the same ones in what is sent on.

use proptest::prelude::*;

use super::{Requests, Step};

/// What a server lets pass, as some of them do or did.
#[derive(Clone, Copy, Debug)]
struct Server {
    /// A line may end with LF alone.
    bare_lf: bool,
    /// Of several lengths the last counts, not the first.
    last_length: bool,
    /// A length counts although there are chunks.
    length_over_chunks: bool,
    /// Blanks may stand between a field's name and its colon.
    loose_names: bool,
    /// A line that begins with a blank goes on with the one before.
    folds: bool,
    /// A coding counts that only contains the word.
    loose_coding: bool,
    /// Lines that are no fields are ignored.
    ignores_garbage: bool,
}

/// One after the other, as this server finds them: where they begin, and their hosts. Ends where it would answer 400, or
/// wait.
fn found(server: Server, bytes: &[u8]) -> Vec<(usize, Vec<String>)> {
    let mut all = Vec::new();
    let mut at = 0;
    while let Some((hosts, next)) = one(server, bytes, &mut at) {
        all.push(hosts);
        match next {
            Some(next) => at = next,
            None => break,
        }
    }
    all
}

fn line<'a>(server: Server, bytes: &'a [u8], at: &mut usize) -> Option<&'a str> {
    let rest = bytes.get(*at..)?;
    let end = (0..rest.len())
        .find(|&n| rest[n] == b'\n' && (server.bare_lf || (n > 0 && rest[n - 1] == b'\r')))?;
    *at += end + 1;
    let line = std::str::from_utf8(&rest[..end]).ok()?;
    Some(line.strip_suffix('\r').unwrap_or(line))
}

type Found = ((usize, Vec<String>), Option<usize>);

fn one(server: Server, bytes: &[u8], at: &mut usize) -> Option<Found> {
    let mut begin = *at;
    while line(server, bytes, at)?.is_empty() {
        begin = *at;
    }
    let mut fields: Vec<(String, String)> = Vec::new();
    loop {
        let text = line(server, bytes, at)?;
        if text.is_empty() {
            break;
        }
        if text.starts_with([' ', '\t']) {
            match (server.folds, fields.last_mut()) {
                (true, Some((_, value))) => value.push_str(text),
                _ if server.ignores_garbage => {}
                _ => return None,
            }
            continue;
        }
        let Some((name, value)) = text.split_once(':') else {
            match server.ignores_garbage {
                true => continue,
                false => return None,
            }
        };
        let name = match server.loose_names {
            true => name.trim_end(),
            false => name,
        };
        fields.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let of = |wanted: &'static str| {
        let fields = fields.iter().filter(move |(name, _)| name == wanted);
        fields.map(move |(_, value)| value.to_ascii_lowercase())
    };
    let length = match server.last_length {
        true => of("content-length").next_back(),
        false => of("content-length").next(),
    };
    let chunked = of("transfer-encoding").any(|coding| match server.loose_coding {
        true => coding.contains("chunked"),
        false => coding == "chunked",
    });
    let hosts = of("host").collect();
    let body = match length {
        Some(length) if !chunked || server.length_over_chunks => {
            length.parse::<usize>().ok().map(|length| *at + length)
        }
        _ if chunked => chunks(server, bytes, *at),
        _ => Some(*at),
    };
    Some(((begin, hosts), body))
}

fn chunks(server: Server, bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        let size = line(server, bytes, &mut at)?;
        let size = size.split(';').next().unwrap_or_default().trim();
        let size = usize::from_str_radix(size.trim_start_matches("0x"), 16).ok()?;
        if size == 0 {
            while !line(server, bytes, &mut at)?.is_empty() {}
            return Some(at);
        }
        at = at.checked_add(size)?;
        line(server, bytes, &mut at)?;
    }
}

/// What egressd sends on of these bytes, and the requests it finds in that.
fn sent_on(bytes: &[u8]) -> (Vec<u8>, Vec<(usize, Vec<String>)>) {
    let mut requests = Requests::default();
    let (mut rest, mut sent, mut heads) = (bytes, Vec::new(), Vec::new());
    loop {
        match requests.step(rest) {
            Ok(Step::Empty(count)) => rest = &rest[count..],
            Ok(Step::Body(count)) => {
                sent.extend_from_slice(&rest[..count]);
                rest = &rest[count..];
            }
            Ok(Step::Head(head, count)) => {
                heads.push((sent.len(), head.name.as_ref().map(ToString::to_string)));
                head.sent_on(&rest[..count])
                    .for_each(|part| sent.extend_from_slice(part));
                rest = &rest[count..];
            }
            Ok(Step::More) | Err(_) => break,
        }
    }
    let heads = heads
        .into_iter()
        .map(|(at, name)| (at, name.into_iter().collect()));
    (sent, heads.collect())
}

fn server() -> impl Strategy<Value = Server> {
    any::<[bool; 7]>().prop_map(|[a, b, c, d, e, f, g]| Server {
        bare_lf: a,
        last_length: b,
        length_over_chunks: c,
        loose_names: d,
        folds: e,
        loose_coding: f,
        ignores_garbage: g,
    })
}

/// Lines of heads, mostly good.
fn field() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(vec![
        "Content-Length: 44\r\n",
        "Content-Length: 0\r\n",
        "Content-Length : 44\r\n",
        "Content-Length: 44\n",
        "Transfer-Encoding: chunked\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
        "Transfer-Encoding : chunked\r\n",
        "Transfer-Encoding:\r\n chunked\r\n",
        "X: y\r\n",
        "X: y\rz\r\n",
        "X: y\nContent-Length: 44\r\n",
        " folded\r\n",
        "garbage\r\n",
        "Upgrade: h2c\r\n",
        "Host: evil.example\r\n",
    ])
}

fn body() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(vec![
        "",
        "\r\n",
        "0\r\n\r\n",
        "3\r\nabc\r\n0\r\n\r\n",
        "3;x\nabc\r\n0\r\n\r\n",
        "3\r\nabc0\r\n\r\n",
        "0\r\nContent-Length: 9\r\n\r\n",
        "0x3\r\nabc\r\n0\r\n\r\n",
        "GET /e HTTP/1.1\r\nHost: evil.example\r\nX: yz\r\n\r\n",
    ])
}

fn request() -> impl Strategy<Value = String> {
    let fields = proptest::collection::vec(field(), 0..3);
    let line = proptest::sample::select(vec!["POST / HTTP/1.1\r\n", "GET / HTTP/1.1\r\n"]);
    (line, fields, body()).prop_map(|(line, fields, body)| {
        format!("{line}Host: a.example\r\n{}\r\n{body}", fields.concat())
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn no_server_finds_other_requests_than_were_judged(
        requests in proptest::collection::vec(request(), 1..4),
        server in server(),
    ) {
        let (sent, judged) = sent_on(requests.concat().as_bytes());
        let found = found(server, &sent);
        let alike = found.iter().zip(&judged).all(|(a, b)| a == b);
        prop_assert!(
            found.len() <= judged.len() && alike,
            "{:?}\n{:?}\n{:?}", String::from_utf8_lossy(&sent), judged, found
        );
    }
}
