//! One phone number to E.164.

use rlibphonenumber::{PHONE_NUMBER_UTIL, PhoneNumber, PhoneNumberFormat, PhoneNumberType, Region};
use switchboard_domain::{Party, PartyKind, Person, Personal};

/// Loads what the library needs for its first number, so that INIT pays for it and no call does.
pub fn warm_up(country: Option<&str>) {
    let _ = e164("+61491570156", country);
}

/// What an address turns out to be, read with its source's country.
pub fn person(party: &Party, country: Option<&str>) -> Person {
    if !party.is_number() {
        return Person::unknown(party.kind, None);
    }
    match e164(party.raw.expose(), country) {
        Some(number) => Person::unknown(PartyKind::E164, Some(Personal::new(number))),
        None => Person::unknown(PartyKind::Unparseable, None),
    }
}

/// A number in E.164, if it can be one.
///
/// It need not be in a range that is assigned today: numbering plans change faster than any
/// library. But it must have the length of a subscriber's number in its country.
pub fn e164(text: &str, country: Option<&str>) -> Option<String> {
    let text = text.trim();
    let text = text.strip_prefix("tel:").unwrap_or(text);
    let region = country.and_then(|country| country.parse::<Region>().ok());
    let number = PhoneNumber::parse(text, region).ok()?;
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
}
