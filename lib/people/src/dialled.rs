//! Which numbers may be dialled: an ordinary subscriber's, in a country that is allowed.

use rlibphonenumber::{PHONE_NUMBER_UTIL, PhoneNumber, PhoneNumberFormat, PhoneNumberType, Region};
use switchboard_domain::{Personal, written};

use crate::number;

/// No subscriber's number is shorter in its national form; emergency and service numbers are.
const SHORTEST: usize = 5;

/// Why a number is not dialled. It never holds the number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotDialled {
    /// It is no phone number, or only with a country that is not known.
    NotANumber,
    /// It is an emergency or service number, or too short to be anything else.
    TooShort,
    /// It costs more than a call: premium rate, shared cost and the like.
    Special,
    /// Its country is not among the allowed ones, or is unknown.
    Country,
}

impl NotDialled {
    /// In words that follow the name of the field.
    pub fn problem(self) -> &'static str {
        match self {
            Self::NotANumber => "is not a phone number; write it in E.164, as +61491570156",
            Self::TooShort => "is an emergency or service number: those are not dialled",
            Self::Special => "is a premium-rate or other special number: those are not dialled",
            Self::Country => "is in a country that the source may not call",
        }
    }
}

/// The number in E.164, if it may be dialled. `home` is the country of national numbers;
/// `countries` are the allowed ones (both ISO 3166-1 alpha-2).
pub fn e164(text: &str, home: Option<&str>, countries: &[String]) -> Result<Personal, NotDialled> {
    let text = written::characters(text);
    let text = text.trim();
    let text = text.strip_prefix("tel:").unwrap_or(text);
    // No extension, no pause, no keypad letters: what is dialled is what was judged.
    let is_plain = |c: char| c.is_ascii_digit() || "+ ()-./".contains(c);
    if !text.chars().all(is_plain) {
        return Err(NotDialled::NotANumber);
    }
    let digits = text.chars().filter(char::is_ascii_digit).count();
    if (1..SHORTEST).contains(&digits) {
        return Err(NotDialled::TooShort);
    }
    let e164 = number::e164(text, home).ok_or(NotDialled::NotANumber)?;
    let number = PhoneNumber::parse(&e164, None).map_err(|_| NotDialled::NotANumber)?;
    if number.format_as(PhoneNumberFormat::E164) != e164 {
        return Err(NotDialled::NotANumber);
    }
    let region = number.get_region_code().ok_or(NotDialled::Country)?;
    let is_allowed = |country: &String| country.parse::<Region>().is_ok_and(|one| one == region);
    if !countries.iter().any(is_allowed) {
        return Err(NotDialled::Country);
    }
    match number.get_type() {
        PhoneNumberType::PremiumRate
        | PhoneNumberType::SharedCost
        | PhoneNumberType::PersonalNumber
        | PhoneNumberType::Pager
        | PhoneNumberType::UAN
        | PhoneNumberType::VoiceMail => Err(NotDialled::Special),
        _ => Ok(Personal::new(e164)),
    }
}

/// Loads what the library needs to judge numbers of a country, so that INIT pays for it.
pub fn warm_up(country: &str) {
    let Ok(region) = country.parse::<Region>() else { return };
    if let Ok(number) = PHONE_NUMBER_UTIL.get_example_number(region) {
        let number = number.format_as(PhoneNumberFormat::E164);
        let _ = e164(&number, None, &[country.to_owned()]);
    }
}

/// Whether a country is one that numbers can be judged by.
pub fn is_country(country: &str) -> bool {
    let region = country.parse::<Region>();
    region.is_ok_and(|region| PHONE_NUMBER_UTIL.get_country_code_for_region(region).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(text: &str, countries: &[&str]) -> Result<String, NotDialled> {
        let countries: Vec<String> = countries.iter().map(|country| (*country).into()).collect();
        e164(text, Some("AU"), &countries).map(|number| number.expose().to_owned())
    }

    #[test]
    fn a_subscriber_of_an_allowed_country_is_dialled() {
        for text in [
            "+61\u{a0}491\u{2011}570\u{2011}156\u{200e}",
            "+61 491 570 156",
            "0491 570 156",
            "tel:+61491570156",
            "0011 61 491570156",
        ] {
            assert_eq!(judged(text, &["NZ", "AU"]).as_deref(), Ok("+61491570156"), "{text}");
        }
        assert_eq!(judged("+919876543210", &["IN"]).as_deref(), Ok("+919876543210"));
    }

    #[test]
    fn no_other_number_is() {
        for (text, why) in [
            ("+919876543210", NotDialled::Country),
            // One country code, several countries: Barbados is not the United States.
            ("+12462300000", NotDialled::Country),
            ("+447400123456", NotDialled::Country),
            ("000", NotDialled::TooShort),
            ("112", NotDialled::TooShort),
            ("911", NotDialled::TooShort),
            ("106", NotDialled::TooShort),
            ("13 12", NotDialled::TooShort),
            ("+61000", NotDialled::NotANumber),
            ("+61112", NotDialled::NotANumber),
            ("1900 123 456", NotDialled::Special),
            ("+611300123456", NotDialled::Special),
            ("0491570156,,1", NotDialled::NotANumber),
            ("0491570156 ext 7", NotDialled::NotANumber),
            ("0491570156;7", NotDialled::NotANumber),
            ("1800FLOWERS", NotDialled::NotANumber),
            ("*31#0491570156", NotDialled::NotANumber),
            ("sip:a@example.com", NotDialled::NotANumber),
            ("client:charlie", NotDialled::NotANumber),
            ("anonymous", NotDialled::NotANumber),
            ("", NotDialled::NotANumber),
            ("+", NotDialled::NotANumber),
            ("+0000000000", NotDialled::NotANumber),
        ] {
            let allowed: &[&str] = if text.starts_with("+1") { &["US"] } else { &["AU"] };
            assert_eq!(judged(text, allowed), Err(why), "{text}");
        }
        assert_eq!(judged("+61491570156", &[]), Err(NotDialled::Country));
    }

    #[test]
    fn a_national_number_needs_a_country() {
        let allowed = vec!["AU".to_owned()];
        assert_eq!(e164("0491570156", None, &allowed), Err(NotDialled::NotANumber));
        assert!(is_country("AU") && !is_country("XX") && !is_country("Oz"));
    }
}
