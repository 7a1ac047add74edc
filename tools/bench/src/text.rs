//! Tables, in plain text and in Markdown, and the parts of a page that are written by a tool.

use crate::Failure;

/// Rows of cells under a heading each. The first column is left-aligned, the others right.
pub struct Table {
    /// The headings.
    pub head: Vec<String>,
    /// The rows.
    pub rows: Vec<Vec<String>>,
}

impl Table {
    /// An empty table.
    pub fn new(head: &[&str]) -> Self {
        Self { head: head.iter().map(|cell| (*cell).to_owned()).collect(), rows: Vec::new() }
    }

    /// Aligned, for a terminal.
    pub fn plain(&self) -> String {
        let rows = || std::iter::once(&self.head).chain(&self.rows);
        let mut widths = vec![0; self.head.len()];
        for row in rows() {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let mut text = String::new();
        for row in rows() {
            for (n, (cell, width)) in row.iter().zip(&widths).enumerate() {
                let width = *width;
                match n {
                    0 => text.push_str(&format!("{cell:<width$}")),
                    _ => text.push_str(&format!("  {cell:>width$}")),
                }
            }
            while text.ends_with(' ') {
                text.pop();
            }
            text.push('\n');
        }
        text
    }

    /// For a page.
    pub fn markdown(&self) -> String {
        let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
        let rule: Vec<String> =
            (0..self.head.len()).map(|n| if n == 0 { "---" } else { "---:" }.to_owned()).collect();
        let rows: String = self.rows.iter().map(|row| line(row)).collect();
        format!("{}{}{rows}", line(&self.head), line(&rule))
    }
}

/// A page with the text between `<!-- figures: NAME -->` and `<!-- end -->` replaced.
pub fn between(page: &str, name: &str, text: &str) -> Result<String, Failure> {
    let start = format!("<!-- figures: {name} -->");
    let missing = || Failure::new(format!("the page has no place for the figures of {name}"));
    let (before, rest) = page.split_once(&start).ok_or_else(missing)?;
    let (_, after) = rest.split_once("<!-- end -->").ok_or_else(missing)?;
    Ok(format!("{before}{start}\n\n{}\n\n<!-- end -->{after}", text.trim()))
}

/// A figure with as many digits as it is worth: three.
pub fn figure(value: f64) -> String {
    match value {
        v if !v.is_finite() => "–".to_owned(),
        0.0 => "0".to_owned(),
        v if v >= 100.0 => thousands(v.round() as u64),
        v if v >= 10.0 => format!("{v:.1}"),
        v if v >= 0.1 => format!("{v:.2}"),
        v => format!("{v:.3}"),
    }
}

fn thousands(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_aligned() {
        let mut table = Table::new(&["program", "ms"]);
        table.rows.push(vec!["a".into(), "1.5".into()]);
        table.rows.push(vec!["longer name".into(), "1,000".into()]);
        let plain = "program         ms\na              1.5\nlonger name  1,000\n";
        assert_eq!(table.plain(), plain);
        assert!(table.markdown().starts_with("| program | ms |\n| --- | ---: |\n| a | 1.5 |\n"));
    }

    #[test]
    fn only_what_is_between_the_marks_is_replaced() {
        let page = "a\n<!-- figures: x -->old<!-- end -->\nb\n<!-- figures: y -->z<!-- end -->";
        let new = between(page, "x", "new").unwrap();
        assert_eq!(
            new,
            "a\n<!-- figures: x -->\n\nnew\n\n<!-- end -->\nb\n<!-- figures: y -->z<!-- end -->"
        );
        assert_eq!(between(&new, "x", "new").unwrap(), new);
        assert!(between(page, "w", "new").is_err());
    }

    #[test]
    fn figures_have_three_digits() {
        let shown: Vec<String> =
            [0.0, 0.0123, 0.123, 1.234, 12.34, 123.4, 1_234_567.8].map(figure).to_vec();
        assert_eq!(shown, ["0", "0.012", "0.12", "1.23", "12.3", "123", "1,234,568"]);
        assert_eq!(figure(f64::NAN), "–");
    }
}
