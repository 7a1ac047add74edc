//! Any call at all, for laws that hold of every one.

use jiff::Timestamp;
use proptest::option;
use proptest::prelude::*;
use switchboard_domain::{
    CallRecord, Direction, Name, Party, PartyKind, Person, Personal, Recording, Seconds, Text,
    Unmatched,
};

use super::{Case, person, record};

/// Words that a person could have said, and some that no person should.
pub fn words() -> impl Strategy<Value = String> {
    let hostile = [
        "",
        " ",
        "\"",
        "\\",
        "'",
        "<b>&amp;</b>",
        "{{ data }}",
        "a\nb\r\nc",
        "\0",
        "\u{7f}",
        "\t",
        "\u{202e}\u{feff}",
        "👩‍👩‍👧 Zoë",
        "(a,b):equals",
        "عميل",
        "\"}]}",
        "&phone=1#",
        "%00",
        "𝄞𝄞𝄞",
    ];
    let hostile = prop::sample::select(hostile.to_vec()).prop_map(str::to_owned);
    prop_oneof![4 => hostile, 4 => ".{0,40}", 1 => Just("x\"é\n<".repeat(25_000))]
}

fn party() -> impl Strategy<Value = Option<Party>> {
    let known = [
        "+61491570156",
        "tel:+61491570157",
        "0491 570 156",
        "101",
        "anonymous",
        "sip:a@b",
        "client:x",
        "$x",
        "8 (999) 111-22-33",
        "+1",
    ];
    let known = prop::sample::select(known.to_vec()).prop_map(str::to_owned);
    prop_oneof![4 => known, 1 => words()].prop_map(|text| Party::read(&text))
}

fn someone() -> impl Strategy<Value = Option<Person>> {
    let number = prop::sample::select(vec![None, Some("+61491570156"), Some("+79991112233")]);
    let unmatched = prop::sample::select(vec![
        None,
        Some(Unmatched::Unknown),
        Some(Unmatched::Colleague),
        Some(Unmatched::OwnNumber),
    ]);
    option::of((number, option::of(words()), any::<bool>(), unmatched).prop_map(
        |(number, name, is_known, unmatched)| Person {
            entry: is_known.then(|| Name::new("entry", "e-1").unwrap()),
            name: name.map(Personal::new),
            unmatched,
            ..person(PartyKind::E164, number)
        },
    ))
}

fn second() -> impl Strategy<Value = Option<Timestamp>> {
    option::of((0i64..4_000_000_000).prop_map(|second| Timestamp::from_second(second).unwrap()))
}

fn seconds() -> impl Strategy<Value = Option<Seconds>> {
    let some = [0, 1, 59, 60, 3_599, 3_600, 86_400, u32::MAX];
    option::of(prop::sample::select(some.to_vec()).prop_map(Seconds))
}

/// Any call that has ended, as it is after `enrich`.
pub fn any_record() -> impl Strategy<Value = CallRecord> {
    let directions =
        vec![None, Some(Direction::Inbound), Some(Direction::Outbound), Some(Direction::Internal)];
    let planning = (
        prop::sample::select(&Case::ALL[..]),
        prop::sample::select(directions),
        seconds(),
        seconds(),
    );
    let times = (second(), second(), second());
    let texts =
        (option::of(words()), option::of(words()), option::of(words()), option::of(words()));
    let sides = (party(), party(), someone(), someone());
    (planning, times, texts, sides).prop_map(
        |((case, direction, talk, total), times, (name, campaign, summary, url), sides)| {
            let (from, to, contact, employee) = sides;
            let mut record = record(case, |facts| {
                (facts.direction, facts.total) = (direction, total);
                facts.talk = talk.or(facts.talk);
                (facts.started_at, facts.answered_at, facts.ended_at) = times;
                (facts.from, facts.to) = (from, to);
                facts.contact_name = name.map(Personal::new);
                facts.campaign = campaign;
                facts.transcript = summary.clone().map(|text| Text::Inline(Personal::new(text)));
                facts.summary = summary.map(Personal::new);
                let recording = |url: String| Recording {
                    url: Some(Personal::new(format!("https://pbx.example/{url}"))),
                    path: None,
                    duration: None,
                    status: None,
                };
                facts.recordings =
                    url.map(|url| ("RE1".to_owned(), recording(url))).into_iter().collect();
            });
            (record.people.contact, record.people.employee) = (contact, employee);
            record
        },
    )
}
