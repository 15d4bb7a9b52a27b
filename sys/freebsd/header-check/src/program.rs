//! The C program.

use std::collections::BTreeSet;
use std::fmt::Write as _;

/// What is compared.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum What {
    /// A constant.
    Constant(&'static str),
    /// The size of a type.
    Size(&'static str),
    /// The offset of a field in a type.
    Offset(&'static str, &'static str),
    /// A function, and a pointer type it must have, with `@` for its name.
    Function(&'static str, &'static str),
}

/// One thing Warder relies on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Item {
    /// The header that has it.
    pub header: &'static str,
    /// What it is.
    pub what: What,
    /// What Warder takes it for.
    pub value: i128,
    /// `__FreeBSD_version` of the first system that has it; 0 for all that Warder runs on.
    pub since: u32,
}

/// Headers that others need before them (style(9)), or leave something out without.
const FIRST: [&str; 6] = [
    "sys/types.h",
    "sys/param.h",
    "sys/socket.h",
    "sys/socketvar.h",
    "netinet/in.h",
    "netinet/in_pcb.h",
];

/// The program that compares `items` with the headers it is compiled with, prints a line for each, and exits with 1
/// when one differs.
#[must_use]
pub fn program(items: &[Item]) -> String {
    let mut text = String::from(
        "/* Made from the tables of sys/freebsd/header-check: WARDER_BLESS=1 cargo test -p warder-header-check */\n\n",
    );
    let mut headers = BTreeSet::new();
    for first in FIRST {
        push(&mut text, format_args!("#include <{first}>"));
        headers.insert(first);
    }
    for item in items {
        if headers.insert(item.header) {
            // A header that all items are newer in is new itself.
            let all = items.iter().filter(|other| other.header == item.header);
            let since = all.map(|other| other.since).min().unwrap_or(0);
            guarded(&mut text, since, &format!("#include <{}>", item.header));
        }
    }
    text.push_str(START);
    for item in items.iter().filter(|item| is_function(item)) {
        guarded(&mut text, item.since, &declaration(item));
    }
    text.push_str(MAIN);
    for item in items {
        guarded(&mut text, item.since, &comparison(item));
    }
    text.push_str(END);
    text
}

const START: &str = "#include <stddef.h>
#include <stdio.h>

static int wrong;

static void
same(const char *header, const char *what, long long here, long long meant)
{
\tif (here == meant) {
\t\tprintf(\"ok     %s: %s is %lld\\n\", header, what, here);
\t\treturn;
\t}
\tprintf(\"WRONG  %s: %s is %lld here, but Warder was written for %lld\\n\", header, what, here, meant);
\twrong++;
}

";

const MAIN: &str = "
int
main(void)
{
\tprintf(\"headers of FreeBSD %d\\n\", __FreeBSD_version);
";

const END: &str = "\tif (wrong == 0) {
\t\tprintf(\"every number is as Warder takes it\\n\");
\t\treturn (0);
\t}
\tprintf(\"%d number(s) differ. Warder must not run here: it would pass the kernel something else than it means.\\n\"
\t    \"Report the lines marked WRONG, with the output of: uname -a; freebsd-version -ku\\n\", wrong);
\treturn (1);
}
";

fn push(text: &mut String, line: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{line}");
}

fn is_function(item: &Item) -> bool {
    matches!(item.what, What::Function(..))
}

fn guarded(text: &mut String, since: u32, line: &str) {
    if since > 0 {
        push(text, format_args!("#if __FreeBSD_version >= {since}"));
    }
    push(text, format_args!("{line}"));
    if since > 0 {
        push(text, format_args!("#endif"));
    }
}

/// Fails to compile where the function has another type.
fn declaration(item: &Item) -> String {
    let What::Function(name, pointer) = item.what else {
        return String::new();
    };
    format!(
        "static {} = {name};",
        pointer.replace('@', &format!("const is_{name}"))
    )
}

fn comparison(item: &Item) -> String {
    let (what, here) = match item.what {
        What::Constant(name) => (name.to_owned(), format!("(long long)({name})")),
        What::Size(of) => (format!("sizeof({of})"), format!("(long long)sizeof({of})")),
        What::Offset(of, field) => {
            let what = format!("offsetof({of}, {field})");
            (what.clone(), format!("(long long){what}"))
        }
        What::Function(name, _) => (format!("{name}()"), format!("is_{name} != NULL")),
    };
    let (header, value) = (item.header, item.value);
    format!("\tsame(\"{header}\", \"{what}\", {here}, {value}LL);")
}
