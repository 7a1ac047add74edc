//! One phone number to E.164.

use rlibphonenumber::{PHONE_NUMBER_UTIL, PhoneNumber, PhoneNumberFormat, PhoneNumberType, Region};
use switchboard_domain::{Party, PartyKind, Person, Personal};

/// Loads what the library needs for its first number, so that INIT pays for it and no call does.
pub fn warm_up(country: Option<&str>) {
    let _ = e164("+61491570156", country);
}

/// What an address turns out to be, read with its source's country.
pub fn person(party: &Party, country: Option<&str>) -> Person {
    // Read anew: an older release may have stored it as something that it could not read.
    let kind = Party::read(party.raw.expose()).map_or(party.kind, |read| read.kind);
    if !matches!(kind, PartyKind::E164 | PartyKind::Number) {
        return Person::unknown(kind, None);
    }
    match e164(party.raw.expose(), country) {
        Some(number) => Person::unknown(PartyKind::E164, Some(Personal::new(number))),
        None => Person::unknown(PartyKind::Unparseable, None),
    }
}

/// A number in E.164, if it can be one: of a call, of the directory and of the configuration alike,
/// read by [`Party::read`].
///
/// It need not be in a range that is assigned today: numbering plans change faster than any
/// library. But it must have the length of a subscriber's number in its country.
pub fn e164(text: &str, country: Option<&str>) -> Option<String> {
    let party = Party::read(text)?;
    // In the directory a short number is not an extension: those have a field of their own.
    if !party.is_number() && party.kind != PartyKind::Extension {
        return None;
    }
    let number = party.raw.expose();
    let number = number.strip_prefix("tel:").unwrap_or(number);
    let region = country.and_then(|country| country.parse::<Region>().ok());
    let number = PhoneNumber::parse(number, region).ok()?;
    let of_a_subscriber =
        PHONE_NUMBER_UTIL.is_possible_number_for_type(&number, PhoneNumberType::FixedLineOrMobile);
    // The length first: a numbering plan is a regular expression, whose first use takes milliseconds.
    (of_a_subscriber || number.is_valid())
        .then(|| number.format_as(PhoneNumberFormat::E164).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Expected values computed with the Python port of the same library.
    #[test]
    fn national_and_international_forms() {
        for (country, text, expected) in [
            ("RU", "8 (999) 111-22-33", Some("+79991112233")),
            ("RU", "89991112233", Some("+79991112233")),
            ("RU", "9991112233", Some("+79991112233")),
            ("RU", "79991112233", Some("+79991112233")),
            ("RU", "88005553535", Some("+78005553535")),
            ("IL", "0501234567", Some("+972501234567")),
            ("IL", "972501234567", Some("+972501234567")),
            ("IL", "00972501234567", Some("+972501234567")),
            ("IN", "9876543210", Some("+919876543210")),
            ("IN", "09876543210", Some("+919876543210")),
            ("IN", "919876543210", Some("+919876543210")),
            ("IN", "07969690935", Some("+917969690935")),
            ("IN", "0607297260058", None),
            ("AU", "0413052898", Some("+61413052898")),
            ("AU", "0491 570 156", Some("+61491570156")),
            ("CH", "0225551234", Some("+41225551234")),
            ("US", "5104895264", Some("+15104895264")),
            ("US", "tel:+79814271847", Some("+79814271847")),
            ("AU", "+61 491 570 156", Some("+61491570156")),
            ("AU", "+61 491", None),
            ("AU", "$client_number", None),
            ("AU", "", None),
        ] {
            assert_eq!(e164(text, Some(country)).as_deref(), expected, "{country} {text}");
        }
    }

    #[test]
    fn without_a_country_only_international_numbers_can_be_read() {
        assert_eq!(e164("+61491570156", None).as_deref(), Some("+61491570156"));
        assert_eq!(e164("0491570156", None), None);
    }

    #[test]
    fn what_is_no_number_is_nobodys() {
        for (text, kind) in [
            ("101", PartyKind::Extension),
            ("10016", PartyKind::Extension),
            ("client:charlie", PartyKind::Client),
            ("+266696687", PartyKind::Anonymous),
            ("+86282452253", PartyKind::Anonymous),
        ] {
            let party = Party::read(text).unwrap();
            assert_eq!(person(&party, Some("IL")), Person::unknown(kind, None), "{text}");
        }
    }

    const PIECES: [&[&str]; 3] = [
        &["", "\"Kim\" <", "Mobile: ", "(work) ", "'", "\u{202a}", "\u{feff}"],
        &["", " ", "\u{a0}", "\u{200b}", "\u{2011}", "\u{2013}", "-", "\u{2060}", "\u{202f}"],
        &["", " ext. 12", "x12", ";ext=12", " (mobile)", "\u{202c}", ",,12", " - home", "\u{a0}"],
    ];

    proptest::proptest! {
        /// What is put around and between the digits of a number changes no call's and no entry's.
        #[test]
        fn harmless_characters_never_change_a_number(
            (country, number) in proptest::sample::select(vec![
                ("AU", "+61491570156"), ("AU", "0491570156"), ("AU", "61255501234"),
                ("DE", "03023125123"), ("US", "+12025550123"), ("RU", "89991112233"),
            ]),
            zero in proptest::sample::select(vec!['0', '\u{660}', '\u{6f0}', '\u{966}', '\u{ff10}']),
            before in proptest::sample::select(PIECES[0].to_vec()),
            between in proptest::collection::vec(proptest::sample::select(PIECES[1].to_vec()), 12),
            behind in proptest::sample::select(PIECES[2].to_vec()),
        ) {
            let digit = |c: char| {
                let shifted = c.to_digit(10).and_then(|digit| char::from_u32(u32::from(zero) + digit));
                shifted.unwrap_or('\u{ff0b}')
            };
            let spaced: String = number.chars().zip(&between).flat_map(|(c, gap)| {
                std::iter::once(digit(c)).chain(gap.chars())
            }).collect();
            let spaced = spaced.trim_end_matches('-');
            let closes = if before.ends_with('<') { ">" } else { "" };
            let text = format!("{before}{spaced}{behind}{closes}");
            let expected = e164(number, Some(country));
            proptest::prop_assert!(expected.is_some());
            proptest::prop_assert_eq!(&e164(&text, Some(country)), &expected, "{}", text);
            let party = Party::read(&text).unwrap();
            let person = person(&party, Some(country));
            proptest::prop_assert_eq!(person.e164.map(|n| n.expose().to_owned()), expected);
        }
    }
}
