//! The decoders of foreign bytes, for `tests/fuzz`. Each checks what must hold of whatever comes out.

use crate::dns::answer::{self, Answer, Read, Reply};
use crate::dns::question::{Asked, Unfit};
use crate::packets::{nflog, pflog};

/// What a guest asks.
pub fn question(message: &[u8]) {
    let asked = match Asked::read(message) {
        Ok(asked) => asked,
        Err(Unfit::Code(code)) => {
            assert_eq!(answer::unfit(message, code).len(), 12);
            return;
        }
        Err(Unfit::Silence) => return,
    };
    for reply in [Reply::Nothing, Reply::Blocked, Reply::Failed] {
        let written = answer::datagram(&asked, &reply);
        assert!(written.len() <= usize::from(asked.edns.unwrap_or(512)));
        assert_eq!(written[..2], message[..2], "the guest's own number");
    }
}

/// What a server answers to a question: `sent`, behind a byte that says how long it is, and then the answer.
pub fn answer(bytes: &[u8]) {
    let Some((length, rest)) = bytes.split_first() else {
        return;
    };
    let Some((sent, message)) = rest.split_at_checked(usize::from(*length)) else {
        return;
    };
    let Read::Answer(answer) = answer::read(sent, message) else {
        return;
    };
    assert_eq!(sent[..2], message[..2], "the question's number");
    // What goes on to a guest means the same.
    let Ok(asked) = Asked::read(sent) else {
        return;
    };
    let code = match answer.code {
        code @ (0 | 3) => code,
        _ => 2,
    };
    let passed = Answer {
        code,
        ..answer.clone()
    };
    let written = answer::write(&asked, &Reply::Answer(answer));
    assert_eq!(answer::read(sent, &written), Read::Answer(passed));
}

/// What the kernel has logged.
pub fn packets(piece: &[u8]) {
    let mut count = 0;
    nflog::packets(piece, |_| count += 1);
    assert!(count <= piece.len() / 40, "each has a header and a packet");
    let mut count = 0;
    pflog::packets(piece, |_| count += 1);
    assert!(
        count <= piece.len() / 114,
        "each has both headers and a packet"
    );
}
