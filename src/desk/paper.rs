//! Owns the PDF that a person reads: headings, paragraphs and fields on A4 pages.
//!
//! Knows `pdf-writer` and Helvetica's widths (Adobe's AFM, Core 14). Promises: no line runs out of the
//! page; every page has its number. No font is embedded, so a character outside Latin-1 is written as
//! `U+65E5`, and the paper's maker says so. Never decides what is on it.

use pdf_writer::{Content, Finish, Name, Pdf, Rect, Ref, Str, TextStr};

/// A document being written.
pub struct Paper {
    title: String,
    pages: Vec<Content>,
    /// From the bottom, in points.
    y: f32,
    pub had_other_letters: bool,
}

const WIDTH: f32 = 595.0;
const HEIGHT: f32 = 842.0;
const MARGIN: f32 = 56.0;
const FIELD_INDENT: f32 = 130.0;
const PLAIN: &[u8] = b"F1";
const BOLD: &[u8] = b"F2";

impl Paper {
    pub fn new(title: &str) -> Self {
        let mut paper = Self { title: title.to_owned(), pages: Vec::new(), y: 0.0, had_other_letters: false };
        paper.turn_page();
        let title = paper.letters(title);
        paper.line(&title, MARGIN, 18.0, BOLD, 0.0);
        paper.y -= 10.0;
        paper
    }

    /// A heading, with room for some of what it stands over.
    pub fn heading(&mut self, text: &str) {
        if self.y < MARGIN + 70.0 {
            self.turn_page();
        }
        self.y -= 8.0;
        let text = self.letters(text);
        for line in wrap(&text, 11.0 * 1.1, WIDTH - 2.0 * MARGIN) {
            self.line(&line, MARGIN, 11.0, BOLD, 0.0);
        }
    }

    pub fn paragraph(&mut self, text: &str) {
        let text = self.letters(text);
        for line in wrap(&text, 10.0, WIDTH - 2.0 * MARGIN) {
            self.line(&line, MARGIN, 10.0, PLAIN, 0.1);
        }
        self.y -= 5.0;
    }

    /// A name and what it is, which may take several lines.
    pub fn field(&mut self, name: &str, value: &str) {
        let (name, value) = (self.letters(name), self.letters(value));
        for (at, line) in wrap(&value, 9.0, WIDTH - 2.0 * MARGIN - FIELD_INDENT).iter().enumerate() {
            if self.y < MARGIN + 24.0 {
                self.turn_page();
            }
            if at == 0 {
                self.write(&name, MARGIN, 9.0, PLAIN, 0.4);
            }
            self.line(line, MARGIN + FIELD_INDENT, 9.0, PLAIN, 0.0);
        }
    }

    /// The file's bytes.
    pub fn finish(self) -> Vec<u8> {
        let mut pdf = Pdf::new();
        let (catalog, tree, info, plain, bold) = (Ref::new(1), Ref::new(2), Ref::new(3), Ref::new(4), Ref::new(5));
        let mut next = 6;
        let mut fresh = || {
            next += 1;
            Ref::new(next)
        };
        let count = self.pages.len();
        let pages: Vec<(Ref, Ref, Content)> = self.pages.into_iter().map(|content| (fresh(), fresh(), content)).collect();
        pdf.catalog(catalog).pages(tree).lang(TextStr("en"));
        pdf.document_info(info).title(TextStr(&self.title)).producer(TextStr("clearpixel"));
        pdf.pages(tree).kids(pages.iter().map(|(page, _, _)| *page)).count(i32::try_from(count).unwrap_or(i32::MAX));
        for (font, name) in [(plain, &b"Helvetica"[..]), (bold, b"Helvetica-Bold")] {
            pdf.type1_font(font).base_font(Name(name)).encoding_predefined(Name(b"WinAnsiEncoding"));
        }
        for (number, (page, contents, mut content)) in pages.into_iter().enumerate() {
            let foot = format!("{} of {count}", number + 1);
            write(&mut content, foot.as_bytes(), WIDTH - MARGIN - width(foot.as_bytes(), 8.0), MARGIN - 20.0, 8.0, PLAIN, 0.4);
            let mut page = pdf.page(page);
            page.media_box(Rect::new(0.0, 0.0, WIDTH, HEIGHT)).parent(tree).contents(contents);
            let mut resources = page.resources();
            resources.fonts().pair(Name(PLAIN), plain).pair(Name(BOLD), bold);
            resources.finish();
            page.finish();
            pdf.stream(contents, &content.finish());
        }
        pdf.finish()
    }

    fn line(&mut self, text: &[u8], x: f32, size: f32, font: &[u8], grey: f32) {
        if self.y < MARGIN + size {
            self.turn_page();
        }
        self.write(text, x, size, font, grey);
        self.y -= size * 1.4;
    }

    fn write(&mut self, text: &[u8], x: f32, size: f32, font: &[u8], grey: f32) {
        let y = self.y;
        if let Some(content) = self.pages.last_mut() {
            write(content, text, x, y, size, font, grey);
        }
    }

    fn turn_page(&mut self) {
        self.pages.push(Content::new());
        self.y = HEIGHT - MARGIN - 12.0;
    }

    /// The text in WinAnsi, whose bytes are Latin-1's from U+00A0 on.
    fn letters(&mut self, text: &str) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(text.len());
        for char in text.chars() {
            match u8::try_from(u32::from(char)) {
                Ok(byte @ (32..=126 | 160..)) => bytes.push(byte),
                Ok(_) | Err(_) => {
                    self.had_other_letters = true;
                    bytes.extend_from_slice(format!("U+{:04X}", u32::from(char)).as_bytes());
                }
            }
        }
        bytes
    }
}

fn write(content: &mut Content, text: &[u8], x: f32, y: f32, size: f32, font: &[u8], grey: f32) {
    content.begin_text();
    content.set_fill_gray(grey);
    content.set_font(Name(font), size);
    content.set_text_matrix([1.0, 0.0, 0.0, 1.0, x, y]);
    content.show(Str(text));
    content.end_text();
}

/// Lines no wider than `width_max`, broken at spaces, or within a word that is wider than a line.
fn wrap(text: &[u8], size: f32, width_max: f32) -> Vec<Vec<u8>> {
    let mut lines = vec![Vec::new()];
    let mut used = 0.0;
    for word in text.split_inclusive(|byte| *byte == b' ' || *byte == b'/') {
        let wide = width(word, size);
        if used + wide > width_max && used > 0.0 {
            lines.push(Vec::new());
            used = 0.0;
        }
        for byte in word {
            let wide = width(&[*byte], size);
            if used + wide > width_max {
                lines.push(Vec::new());
                used = 0.0;
            }
            if let Some(line) = lines.last_mut() {
                line.push(*byte);
            }
            used += wide;
        }
    }
    lines
}

fn width(text: &[u8], size: f32) -> f32 {
    let thousandths = |byte: &u8| HELVETICA.get(usize::from(byte.wrapping_sub(32))).copied().unwrap_or(WIDEST_OF_LATIN_1);
    text.iter().map(|byte| f32::from(thousandths(byte))).sum::<f32>() * size / 1_000.0
}

/// Æ; no letter from U+00A0 on is wider, so that a line is rather broken too soon.
const WIDEST_OF_LATIN_1: u16 = 1_000;

/// Widths of Helvetica's characters 32 to 126, in thousandths of the size.
const HELVETICA: [u16; 95] = [
    278, 278, 355, 556, 556, 889, 667, 191, 333, 333, 389, 584, 278, 333, 278, 278, 556, 556, 556, 556, 556, 556, 556, 556, 556, 556, 278, 278, 584, 584, 584, 556,
    1015, 667, 667, 722, 722, 667, 611, 778, 722, 278, 500, 667, 556, 833, 722, 778, 667, 778, 722, 667, 611, 722, 667, 944, 667, 667, 611, 278, 278, 278, 469, 556,
    333, 556, 556, 500, 556, 556, 278, 556, 556, 222, 222, 500, 222, 833, 556, 556, 556, 556, 333, 500, 278, 556, 500, 722, 500, 500, 500, 334, 260, 334, 584,
];

#[cfg(test)]
mod tests {
    use super::{Paper, width, wrap};
    use proptest::prelude::*;

    #[test]
    fn long_texts_take_several_pages_and_are_all_there() {
        let mut paper = Paper::new("Your data");
        for at in 0..200 {
            paper.heading(&format!("Heading {at}"));
            paper.field("page_url", &format!("https://shop.example/{}/end{at}", "x".repeat(300)));
        }
        assert!(!paper.had_other_letters);
        paper.paragraph("日本 (parentheses) and \\ stay");
        assert!(paper.had_other_letters);
        let bytes = paper.finish();
        let text = String::from_utf8_lossy(&bytes);
        assert!(text.starts_with("%PDF-") && text.trim_end().ends_with("%%EOF"));
        for part in ["end0", "end199", "Heading 77", "(U+65E5U+672C (parentheses) and \\\\ stay)"] {
            assert!(text.contains(part), "{part}");
        }
        assert!(text.matches("/Type /Page\n").count() > 10);
    }

    proptest! {
        #[test]
        fn no_line_is_wider_than_it_may_be_and_no_letter_is_lost(text in "[ -~]{0,400}", wide in 60.0f32..500.0) {
            let lines = wrap(text.as_bytes(), 9.0, wide);
            prop_assert_eq!(lines.concat(), text.as_bytes());
            for line in lines {
                prop_assert!(width(&line, 9.0) <= wide + 0.01);
            }
        }
    }
}
