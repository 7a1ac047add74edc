//! Whether a number as it is written in a CRM is one that we know in E.164. CRMs keep what was
//! typed, so this is judged here, without knowing the country of the CRM's users.

use switchboard_domain::written;

/// Country calling codes of two digits (ITU-T E.164). Those that begin with 1 or 7 have one digit, and
/// all others three.
const TWO_DIGITS: [&str; 44] = [
    "20", "27", "30", "31", "32", "33", "34", "36", "39", "40", "41", "43", "44", "45", "46", "47",
    "48", "49", "51", "52", "53", "54", "55", "56", "57", "58", "60", "61", "62", "63", "64", "65",
    "66", "81", "82", "84", "86", "90", "91", "92", "93", "94", "95", "98",
];

/// The digits of a number in E.164 without its country calling code. Empty where it is no such number.
pub fn national(e164: &str) -> &str {
    let digits = e164.strip_prefix('+').unwrap_or_default();
    let length = match digits.get(..2) {
        Some(two) if two.starts_with(['1', '7']) => 1,
        Some(two) if TWO_DIGITS.contains(&two) => 2,
        _ => 3,
    };
    digits.get(length..).unwrap_or_default()
}

/// Whether what is written is this number: in full, or as it is dialled inside its country.
pub fn is_same(written: &str, e164: &str) -> bool {
    let number = e164.strip_prefix('+').unwrap_or_default();
    let written = written::number(written);
    let written = written.strip_prefix("tel:").unwrap_or(&written);
    // An extension or a remark follows.
    let written = written.split(|c: char| c.is_alphabetic()).next().unwrap_or_default().trim();
    // The trunk zero that is not dialled from abroad.
    let written = written.replace("(0)", "");
    let digits: String = written.chars().filter(char::is_ascii_digit).collect();
    if number.is_empty() || digits.is_empty() {
        return false;
    }
    if written.starts_with('+') {
        return digits == number;
    }
    if let Some(full) = digits.strip_prefix("00") {
        return full == number;
    }
    let inside = national(e164);
    // In the world zone 7 the trunk prefix is 8.
    let trunk = if number.starts_with('7') { '8' } else { '0' };
    let bare = digits.strip_prefix(trunk).unwrap_or(&digits);
    !inside.is_empty() && (digits == number || digits == inside || bare == inside)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_known_however_it_was_written() {
        for (written, e164, expected) in [
            ("+61491570156", "+61491570156", true),
            ("+61 491 570 156", "+61491570156", true),
            ("+61 (0)491 570 156", "+61491570156", true),
            ("0061 491 570 156", "+61491570156", true),
            ("61491570156", "+61491570156", true),
            ("0491 570 156", "+61491570156", true),
            ("491570156", "+61491570156", true),
            ("(0491) 570-156 ext 7", "+61491570156", true),
            ("0491 570 156 (mobile)", "+61491570156", true),
            ("+61\u{a0}491\u{2011}570\u{2011}156\u{202c}", "+61491570156", true),
            ("Mobile: ٠٤٩١٥٧٠١٥٦", "+61491570156", true),
            ("\"Kim\" <tel:+61491570156>", "+61491570156", true),
            ("0491 570 157", "+61491570156", false),
            ("+64491570156", "+61491570156", false),
            ("+491570156", "+61491570156", false),
            ("00491570156", "+61491570156", false),
            ("(202) 555-0100", "+12025550100", true),
            ("1 202 555 0100 x12", "+12025550100", true),
            ("555-0100", "+12025550100", false),
            ("8 (999) 111-22-33", "+79991112233", true),
            ("0999 111 22 33", "+79991112233", false),
            ("01632 960123", "+441632960123", true),
            ("", "+441632960123", false),
            ("unknown", "+441632960123", false),
            ("0", "+441632960123", false),
            ("+441632960123", "", false),
            ("", "", false),
        ] {
            assert_eq!(is_same(written, e164), expected, "{written} {e164}");
        }
    }

    #[test]
    fn the_calling_code_is_left_out() {
        for (e164, expected) in [
            ("+61491570156", "491570156"),
            ("+12025550100", "2025550100"),
            ("+79991112233", "9991112233"),
            ("+41225551234", "225551234"),
            ("+972501234567", "501234567"),
            ("+35312222222", "12222222"),
            ("+1", ""),
            ("61491570156", ""),
            ("", ""),
        ] {
            assert_eq!(national(e164), expected, "{e164}");
        }
    }
}
