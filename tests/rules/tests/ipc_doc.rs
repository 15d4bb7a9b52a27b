//! `docs/ipc.md` is made from the comments in `sys/wire`; this compares it with what they say now.
//!
//! `WARDER_BLESS=1 cargo test -p warder-rules --test ipc_doc` writes it anew.

use std::fmt::Write as _;
use std::path::Path;

const BORDERS: [&str; 12] = [
    "start",
    "gateway_priv",
    "gateway_net",
    "gateway_plugin",
    "net_egress",
    "egress_gateway",
    "plugin_priv",
    "priv_net",
    "policy",
    "link",
    "limits",
    "fault",
];

const HEAD: &str = "# Messages between Warder's processes

Made from the comments in `sys/wire`; do not edit. A test compares the two.

Every channel is an `AF_UNIX` `SOCK_SEQPACKET` socket that privd made before it started the process at either end. A frame is
four bytes of length (little endian) and a postcard body, 32 KiB at most, sent with `MSG_EOR` and accepted only whole.
Descriptors ride on its first byte. A question is `Request { seq, body: Ask }`, an answer `Message::Reply { seq, result }` with the
same number, in any order; what nobody asked for is `Message::Event`. A frame that is not one of the messages below ends the
channel, and the privileged side writes an audit line.
";

#[test]
fn ipc_doc_says_what_the_wire_crate_says() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut page = HEAD.to_owned();
    for border in BORDERS {
        let source = root.join(format!("sys/wire/src/{border}.rs"));
        let text = std::fs::read_to_string(&source)
            .unwrap_or_else(|e| panic!("{}: {e}", source.display()));
        chapter(&mut page, border, &text);
    }
    let file = root.join("docs/ipc.md");
    if std::env::var_os("WARDER_BLESS").is_some() {
        std::fs::write(&file, &page).expect("docs/ipc.md can be written");
    }
    let kept = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(
        kept == page,
        "docs/ipc.md is not what sys/wire says: WARDER_BLESS=1 cargo test -p warder-rules --test ipc_doc"
    );
}

/// One file of the wire crate as a chapter: its public enums and structs with the comments on them.
fn chapter(page: &mut String, border: &str, text: &str) {
    let intro: Vec<&str> = text
        .lines()
        .map_while(|l| l.strip_prefix("//!"))
        .map(str::trim)
        .collect();
    write!(page, "\n## `{border}`\n\n{}\n", intro.join(" ").trim())
        .expect("strings take everything");
    let mut comment = Vec::new();
    // Depth of the item being read; zero outside of any.
    let mut depth = 0_usize;
    for line in text.lines().take_while(|l| !l.starts_with("#[cfg(test)]")) {
        let line = line.trim();
        if let Some(words) = line.strip_prefix("///") {
            comment.push(words.trim().to_owned());
            continue;
        }
        if line.starts_with("#[") || line.is_empty() || line.starts_with("//") {
            continue;
        }
        let said = std::mem::take(&mut comment).join(" ");
        let item = ["pub enum ", "pub struct "]
            .iter()
            .find_map(|kind| line.strip_prefix(kind));
        if depth == 0 {
            let Some(item) = item else { continue };
            let name: String = item
                .chars()
                .take_while(char::is_ascii_alphanumeric)
                .collect();
            write!(page, "\n### {name}\n\n{}\n", links(&said)).expect("strings take everything");
            depth = usize::from(line.ends_with('{'));
            if depth == 1 {
                page.push('\n');
            }
        } else if line.starts_with('}') {
            depth -= 1;
        } else {
            let name = line
                .trim_start_matches("pub ")
                .trim_end_matches([',', '{', ' ']);
            let indent = "  ".repeat(depth - 1);
            writeln!(page, "{indent}- `{name}`: {}", links(&said))
                .expect("strings take everything");
            depth += usize::from(line.ends_with('{'));
        }
    }
}

/// Rust's links mean nothing on a page: keep their text.
fn links(said: &str) -> String {
    said.replace("[`", "`").replace("`]", "`")
}
