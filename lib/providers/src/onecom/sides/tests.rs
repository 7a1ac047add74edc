use super::*;

#[test]
fn numbers_lose_what_the_pbx_puts_around_them() {
    for (text, expected) in [
        ("#019#0501234567", "0501234567"),
        ("101-decker", "101"),
        ("101-big-decker", "101"),
        ("101-decker-2", "101"),
        ("#019#0501234567-decker", "0501234567"),
        ("050-123-4567-decker", "050-123-4567"),
        ("050-123-4567", "050-123-4567"),
        ("101-דקר", "101"),
        ("+972501234567", "+972501234567"),
        ("*2700", "*2700"),
        ("#31#", "#31#"),
        ("#0501234567", "#0501234567"),
        ("##0501234567", "##0501234567"),
        ("front-desk", "front-desk"),
        ("SIP/101-decker", "SIP/101-decker"),
        (" anonymous ", "anonymous"),
        ("-", "-"),
        ("", ""),
    ] {
        assert_eq!(bare(text), expected, "{text}");
    }
}

#[test]
fn the_direction_is_the_markers_then_the_numbers_then_the_contexts() {
    use Direction::{Inbound, Internal, Outbound};
    let (mobile, line) = ("0501234567", "12025550123");
    for (userfield, dcontext, src, dst, expected) in [
        // The example of the set-up guide: a context that the numbers contradict.
        ("", "from-outside", "101", mobile, Some(Outbound)),
        ("", "", "101", mobile, Some(Outbound)),
        ("", "", mobile, "101", Some(Inbound)),
        ("", "from-internal", mobile, "101", Some(Inbound)),
        ("", "", "anonymous", "101", Some(Inbound)),
        // The marker beats both.
        ("[inbound]", "from-internal", "101", mobile, Some(Inbound)),
        ("x [OUTBOUND] y", "from-outside", mobile, "101", Some(Outbound)),
        ("[internal]", "from-outside", mobile, "101", Some(Internal)),
        ("inbound", "", "101", mobile, Some(Outbound)),
        // Where the numbers leave doubt, the context decides.
        ("", "from-outside", mobile, line, Some(Inbound)),
        ("", "fromoutside", mobile, line, Some(Inbound)),
        ("", "From_PSTN", mobile, line, Some(Inbound)),
        ("", "from-external", mobile, line, Some(Inbound)),
        ("", "from-outside-decker", mobile, line, Some(Inbound)),
        ("", "frominternal", line, mobile, Some(Outbound)),
        ("", "from-internal", "101", "*2700", Some(Outbound)),
        ("", "fromotherpbx", line, mobile, Some(Outbound)),
        ("", "from-sip", line, mobile, Some(Outbound)),
        ("", "queues", mobile, line, None),
        ("", "", mobile, line, None),
        ("", "", "", mobile, None),
        ("", "", "", "", None),
        // Two extensions.
        ("", "", "101", "102", Some(Internal)),
        ("", "from-internal", "101", "102", Some(Internal)),
        ("", "from-outside", "1700", "102", Some(Inbound)),
    ] {
        let ends = Ends { src: Party::read(src), dst: Party::read(dst), ..Ends::default() };
        let read = direction(Some(userfield), Some(dcontext), &ends);
        assert_eq!(read, expected, "{userfield} {dcontext} {src} {dst}");
    }
}
