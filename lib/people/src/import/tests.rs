use std::collections::BTreeSet;

use switchboard_domain::directory::{ContactKind, EntryKind, Extension};
use switchboard_domain::{Name, Personal};

use super::*;

fn defaults() -> Defaults {
    Defaults { kind: EntryKind::Contact(ContactKind::Client), country: Some("AU".into()) }
}

fn read(text: &str) -> Vec<Row> {
    read_bytes(text.as_bytes())
}

fn read_bytes(text: &[u8]) -> Vec<Row> {
    rows(text, Format::of(text), &defaults()).map(Iterator::collect).unwrap()
}

fn set<const N: usize>(values: [&str; N]) -> BTreeSet<Personal> {
    values.into_iter().map(Personal::new).collect()
}

fn kim() -> Draft {
    Draft {
        id: Some(Name::new("id", "c-1").unwrap()),
        name: Some(Personal::new("Kim, the «Example»")),
        numbers: set(["+61491570156", "+61491570157", "+79991112233"]),
        emails: set(["kim@example.com", "k@example.com"]),
        external_ids: set(["crm;1", "L|2"]),
        status: Some("new".into()),
        ..Draft::new(EntryKind::Contact(ContactKind::Lead))
    }
}

#[test]
fn the_same_person_in_every_form() {
    let csv = "\u{feff}ID,Kind,Full Name,number,phone,email,external_id,ref_id,status\r\n\
        c-1,lead,\"Kim, the «Example»\",\"0491 570 156; 0491570157\",+7 999 111-22-33,KIM@example.com|k@example.com,crm;1,L|2,new\r\n";
    assert_eq!(read(csv), [Row { line: 2, draft: Ok(kim()) }]);
    let semicolons = csv
        .replace(',', ";")
        .replace("Kim; the", "Kim, the")
        .replace(";1;", ";\"crm;1\";")
        .replace("crm;\"crm;1\"", "\"crm;1\"");
    assert_eq!(read(&semicolons)[0].draft, Ok(kim()), "{semicolons}");
    let json = r#"{"id": "c-1", "kind": "lead", "name": " Kim, the «Example» ", "status": "new",
        "numbers": ["0491570156", "0491570157", "+79991112233", ""], "emails": ["KIM@example.com", "k@example.com"],
        "external_ids": ["crm;1", "L|2"]}"#;
    let json = json.replace('\n', "");
    for text in [format!("\n [{json}]"), format!("\n{json}\n"), format!("\r\n{json}\r\n\r\n")] {
        assert_eq!(read(&text), [Row { line: 2, draft: Ok(kim()) }], "{text}");
    }
}

#[test]
fn employees_have_extensions_of_a_source_or_of_all() {
    let text = "kind,extension,country,number\nemployee,101|pbx/102,GB,01632 960001\n";
    let wanted = Draft {
        numbers: set(["+441632960001"]),
        extensions: [
            Extension { source: None, number: Personal::new("101") },
            Extension {
                source: Some(Name::new("source", "pbx").unwrap()),
                number: Personal::new("102"),
            },
        ]
        .into(),
        ..Draft::new(EntryKind::Employee)
    };
    assert_eq!(read(text)[0].draft, Ok(wanted.clone()));
    let json = r#"{"kind":"employee","extension":["101","pbx/102"],"number":"01632 960001","country":"GB","status":null,"emails":null}"#;
    assert_eq!(read(json)[0].draft, Ok(wanted));
}

/// Line and fault of each row that cannot be read.
fn faults(rows: Vec<Row>) -> Vec<(u64, String)> {
    let fault = |row: Row| Some((row.line, row.draft.err()?.to_string()));
    rows.into_iter().filter_map(fault).collect()
}

#[test]
fn what_is_wrong_with_a_row_is_told_by_its_line_and_not_by_its_value() {
    let text = "id,kind,name,number,status,country\n\
        ,,Kim,0491570156,,\n\
        \n\
        ,,\"Kim\nin two lines\",0491570156,,\n\
        ,,Kim,0491,,\n\
        ,,Kim,0491570156\n\
        Kim Example,,Kim,0491570156,,\n\
        ,Kim,Kim,0491570156,,\n\
        ,,Kim,0491570156,,Kim\n\
        ,employee,Kim,0491570156,new,\n\
        ,,,,,\n\
        ,,Kim,0491570156,,\n";
    let mut bytes = text.as_bytes().to_vec();
    bytes.extend_from_slice(b",,K\xffim,0491570156,,\r\n,,Kim,\"0491570156,,\n");
    let rows = read_bytes(&bytes);
    let good: Vec<u64> = rows.iter().filter(|row| row.draft.is_ok()).map(|row| row.line).collect();
    assert_eq!(good, [2, 4, 13]);
    let faults = faults(rows);
    let wanted = [
        (6, "numbers holds one that is no phone number of AU, nor international"),
        (7, "row has 4 fields where the header has 6"),
        (8, "id has a character other than A-Z a-z 0-9 . _ -"),
        (9, "kind is not one of contact, client, lead, employee"),
        (10, "country must be two capital letters, as AU"),
        (11, "status is for leads only"),
        (14, "row is not UTF-8"),
        (15, "row has 4 fields where the header has 6"),
    ];
    assert_eq!(faults, wanted.map(|(line, text)| (line, text.to_owned())));
}

#[test]
fn what_is_wrong_with_json_is_told_by_its_line_and_not_by_its_value() {
    let text = "[\n {\"name\": \"Kim\", \"number\": \"0491570156\"},\n {\"name\": 17, \"Kim\": 1},\n\
        \n {\"number\":\n \"0491570156\",\n \"Kim\": 1}, \"Kim\", {\"extension\": \"101\"}\n]";
    let said = faults(read(text));
    assert_eq!(said.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [3, 5, 7, 7]);
    assert!(said[1].1.contains("(line 7, column"), "{said:?}");
    assert_eq!(said[3].1, "extensions are for employees only");
    let lines =
        "{\"name\": \"Kim\", \"number\": \"0491570156\"}\n\n{\"Kim\n{\"number\": 491570156}\n";
    let said = [said, faults(read(lines))].concat();
    assert_eq!(said[4..].iter().map(|(line, _)| *line).collect::<Vec<_>>(), [3, 4]);
    let text = format!("{said:?}");
    assert!(!text.contains("Kim") && !text.contains("491"), "{text}");
}

#[test]
fn a_file_without_a_header_that_is_known_is_not_read() {
    for (text, problem) in [
        ("", "it is empty"),
        ("\n\n", "it is empty"),
        ("Kim,0491570156\n", "column 1 has none of the names id, kind,"),
        ("name,number,Kim\n", "column 3 has none"),
        ("name,number,name\n", "column 3 is there twice"),
        ("[{\"name\": \"Kim\"}", "it is not a JSON array (line 1, column"),
        ("[{\"name\": \"Kim\"}] x", "it is not a JSON array (line 1, column"),
    ] {
        let defaults = defaults();
        let said = rows(text.as_bytes(), Format::of(text.as_bytes()), &defaults).err().unwrap();
        assert!(said.0.contains(problem) && !said.0.contains("Kim"), "{text}: {}", said.0);
    }
}

#[test]
fn without_a_country_national_numbers_are_refused_with_what_to_do() {
    let defaults = Defaults { country: None, ..defaults() };
    let text = b"number\n0491570156\n+61491570156\n";
    let rows: Vec<Row> = rows(text, Format::Csv, &defaults).map(Iterator::collect).unwrap();
    assert!(rows[0].draft.as_ref().unwrap_err().problem.contains("give the country"));
    assert!(rows[1].draft.is_ok());
}

#[test]
fn no_bytes_make_it_panic() {
    for text in
        [&b"id\n\xff"[..], b"[", b"{", b"\"", b"id\n\"", b"\xef\xbb\xbf", b"\xef\xbb\xbf[]", b"\0"]
    {
        for format in [Format::Csv, Format::Json] {
            let _ = rows(text, format, &defaults()).map(|rows| rows.count());
        }
    }
}
