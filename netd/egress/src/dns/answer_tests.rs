use proptest::prelude::*;
use warder_wire::HostName;

use super::super::question;
use super::*;

fn name(text: &str) -> Name {
    Name::from(&HostName::new(text).expect("a name"))
}

fn sent(text: &str) -> Vec<u8> {
    question::write(7, &for_addresses(name(text)))
}

fn asked(text: &str) -> Asked {
    Asked::read(&sent(text)).expect("a question")
}

fn answer() -> Answer {
    Answer {
        code: NO_ERROR,
        aliases: vec![(name("b.example"), 60), (name("c.example"), 70)],
        addresses: vec![
            (Ipv4Addr::new(192, 0, 2, 1), 80),
            (Ipv4Addr::new(192, 0, 2, 2), 90),
        ],
    }
}

/// A message with these records behind the question of `sent`.
fn message(sent: &[u8], flags: u16, records: &[(Vec<u8>, u16, u32, Vec<u8>)]) -> Vec<u8> {
    let end = question(sent).expect("one").1;
    let mut message = sent[..end].to_vec();
    message[2..4].copy_from_slice(&flags.to_be_bytes());
    let count = u16::try_from(records.len()).expect("few");
    message[6..8].copy_from_slice(&count.to_be_bytes());
    message[10..12].copy_from_slice(&[0, 0]);
    for (owner, kind, ttl, data) in records {
        record(&mut message, owner, *kind, *ttl, data);
    }
    message
}

#[test]
fn what_is_written_is_read() {
    let written = write(&asked("a.example"), &Reply::Answer(answer()));
    assert_eq!(read(&sent("a.example"), &written), Read::Answer(answer()));
}

#[test]
fn the_answer_to_another_question_is_none() {
    let sent = sent("a.example");
    let good = write(&asked("a.example"), &Reply::Answer(answer()));
    assert!(answers(&sent, &good));
    // Number, not a response, another kind of message, no question, another case, another name, type and class.
    for (at, byte) in [
        (0, 1),
        (2, 1),
        (2, 0xa1),
        (5, 0),
        (13, b'A'),
        (13, b'b'),
        (24, 2),
        (26, 3),
    ] {
        let mut forged = good.clone();
        assert_ne!(forged[at], byte, "{at}");
        forged[at] = byte;
        assert_eq!(read(&sent, &forged), Read::Other, "{at}");
    }
    for length in 0..good.len() - 11 {
        let wanted = match length < sent.len() - 11 {
            true => Read::Other,
            false => Read::Odd,
        };
        assert_eq!(read(&sent, &good[..length]), wanted, "{length}");
    }
}

#[test]
fn only_what_belongs_to_the_name_is_taken() {
    let sent = sent("a.example");
    let address = |n| vec![192, 0, 2, n];
    let own = vec![0xc0, 12];
    let records = [
        (name("evil.example").bytes().to_vec(), A, 1, address(66)),
        (own.clone(), 16, 1, vec![1, b'x']),
        (own.clone(), 65, 1, vec![0, 1, 0]),
        // In any order.
        (name("B.example").bytes().to_vec(), A, 2, address(1)),
        (
            own.clone(),
            CNAME,
            u32::MAX,
            name("b.example").bytes().to_vec(),
        ),
    ];
    let got = read(&sent, &message(&sent, 0x8180, &records));
    let wanted = Answer {
        code: NO_ERROR,
        aliases: vec![(name("b.example"), 0)],
        addresses: vec![(Ipv4Addr::new(192, 0, 2, 1), 2)],
    };
    assert_eq!(got, Read::Answer(wanted));
}

#[test]
fn broken_and_endless_answers_are_not_believed() {
    let sent = sent("a.example");
    let own = vec![0xc0, 12];
    for records in [
        vec![(own.clone(), CNAME, 1, vec![0xc0, 12])],
        vec![(own.clone(), A, 1, vec![1, 2, 3])],
        vec![(own.clone(), CNAME, 1, vec![1, b'a', 0, 0])],
        vec![(own.clone(), CNAME, 1, vec![0xff, 0xff])],
        vec![(vec![0xc0, 0xff], A, 1, vec![1, 2, 3, 4])],
    ] {
        let got = read(&sent, &message(&sent, 0x8180, &records));
        assert_eq!(got, Read::Odd, "{records:?}");
    }
    let mut fewer = message(&sent, 0x8180, &[]);
    fewer[7] = 200;
    assert_eq!(read(&sent, &fewer), Read::Odd);
    assert_eq!(read(&sent, &message(&sent, 0x8380, &[])), Read::Cut);
    let refused = Answer {
        code: 5,
        ..Answer::default()
    };
    assert_eq!(
        read(&sent, &message(&sent, 0x8185, &[])),
        Read::Answer(refused)
    );
}

#[test]
fn what_does_not_fit_is_cut() {
    let mut many = answer();
    many.addresses = (0..200)
        .map(|n| (Ipv4Addr::new(192, 0, 2, n), 60))
        .collect();
    let reply = Reply::Answer(many);
    let mut asked = asked("a.example");
    let large = datagram(&asked, &reply);
    assert!(large.len() <= usize::from(SIZE));
    assert_eq!(read(&sent("a.example"), &large), Read::Cut);
    asked.edns = None;
    assert!(datagram(&asked, &reply).len() <= usize::from(SMALL));
    assert!(write(&asked, &reply).len() > 3000);
}

#[test]
fn refusals_say_why() {
    let blocked = write(&asked("a.example"), &Reply::Blocked);
    assert_eq!(blocked[3] & 0xf, 3);
    let text = blocked.windows(BLOCKED_TEXT.len());
    assert!(text.clone().any(|w| w == BLOCKED_TEXT));
    let mut plain = asked("a.example");
    plain.edns = None;
    let blocked = write(&plain, &Reply::Blocked);
    assert_eq!(blocked.len(), HEADER + plain.raw.len());
    assert_eq!(
        unfit(&[0, 9, 1, 0], 1),
        [0, 9, 0x81, 1, 0, 0, 0, 0, 0, 0, 0, 0]
    );
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(
        mut bytes in proptest::collection::vec(prop_oneof![any::<u8>(), 0_u8..17, Just(0xc0)], 0..400),
        truthful in any::<bool>(),
    ) {
        let sent = sent("a.example");
        if truthful && bytes.len() > sent.len() {
            bytes[..27].copy_from_slice(&sent[..27]);
            bytes[2] |= 0x80;
        }
        if let Read::Answer(answer) = read(&sent, &bytes) {
            let written = write(&asked("a.example"), &Reply::Answer(answer.clone()));
            let expected = Answer { code: if answer.code == 3 || answer.code == 0 { answer.code } else { 2 }, ..answer };
            prop_assert_eq!(read(&sent, &written), Read::Answer(expected));
        }
    }
}
