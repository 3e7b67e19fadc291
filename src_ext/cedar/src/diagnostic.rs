//! Diagnostics of the sources, with file, line and column, and with the source line underlined.
//!
//! Cedar's errors carry offsets into their text but not the name of its file; this module joins the two.

use std::borrow::Cow;
use std::fmt;

use miette::{
    GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteError, MietteSpanContents, SourceCode, SourceSpan,
    SpanContents,
};
use serde::{Deserialize, Serialize};

use crate::sources::SourceFile;

/// The severity of a [`Diagnostic`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The sources are refused.
    Error,
    /// The sources are accepted, but the author should look at this.
    Warning,
}

/// One error or warning about the sources.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagnostic {
    /// Error or warning.
    pub severity: Severity,
    /// The problem, in one or two sentences.
    pub message: String,
    /// The name of the file, as the user gave it.
    pub file: String,
    /// The line of the offending text, from 1; `None` if only the file is known.
    pub line: Option<u32>,
    /// The column (in characters) of the offending text, from 1.
    pub column: Option<u32>,
    /// The line of the end of the offending text.
    pub end_line: Option<u32>,
    /// The column just behind the offending text.
    pub end_column: Option<u32>,
    /// Cedar's advice, if there is any.
    pub help: Option<String>,
    /// All of the above for a terminal without colours: `file:line:column`, and the source line with the offending text
    /// underlined.
    pub rendered: String,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.rendered.trim_end())
    }
}

/// Why sources were refused: every error found, and the warnings beside them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadError {
    /// The errors and warnings, at least one of them an error.
    pub diagnostics: Vec<Diagnostic>,
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for diagnostic in &self.diagnostics {
            write!(f, "{separator}{diagnostic}")?;
            separator = "\n\n";
        }
        Ok(())
    }
}

impl std::error::Error for LoadError {}

/// Why a request cannot be decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestError {
    /// The problem.
    pub message: String,
    /// Cedar's advice, if there is any.
    pub help: Option<String>,
}

impl RequestError {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), help: None }
    }

    pub(crate) fn of(error: &dyn miette::Diagnostic) -> Self {
        let (message, help) = describe(error);
        Self { message, help }
    }
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.help {
            Some(help) => write!(f, " ({help})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for RequestError {}

/// The most problems of one kind that are reported. Each costs a walk through its file, and readers look at fewer.
pub(crate) const MAX_REPORTED: usize = 200;

/// Report that there are more than [`MAX_REPORTED`].
pub(crate) fn more(severity: Severity, file: &SourceFile) -> Diagnostic {
    build(
        severity,
        file,
        format!("there are more of these; only the first {MAX_REPORTED} are reported"),
        None,
        Vec::new(),
    )
}

/// A range of a file's bytes to which a diagnostic points, and the text to write there.
#[derive(Debug, Clone)]
pub(crate) struct Label {
    pub start: usize,
    pub len: usize,
    pub text: Option<String>,
}

impl Label {
    pub(crate) fn new(start: usize, len: usize) -> Self {
        Self { start, len, text: None }
    }

    pub(crate) fn saying(self, text: impl Into<String>) -> Self {
        Self { text: Some(text.into()), ..self }
    }
}

/// Make a name from outside safe for messages: on one line, and without control characters that a terminal would obey.
#[must_use]
pub fn shown(name: &str) -> Cow<'_, str> {
    let acts = |c: char| {
        let directs =
            matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}');
        directs || c.is_control() || c == '\u{feff}'
    };
    if !name.contains(acts) {
        return Cow::Borrowed(name);
    }
    let escaped = name.chars().map(|c| if acts(c) { c.escape_default().to_string() } else { c.to_string() });
    Cow::Owned(escaped.collect())
}

/// Return the message of an error with its causes, and its help.
pub(crate) fn describe(error: &dyn miette::Diagnostic) -> (String, Option<String>) {
    let mut message = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        let text = error.to_string();
        // Many of Cedar's errors already contain the text of their cause.
        if !message.contains(&text) {
            message.push_str(": ");
            message.push_str(&text);
        }
        cause = error.source();
    }
    let mut help = error.help().map(|help| help.to_string());
    let mut inner = error.diagnostic_source();
    while let (None, Some(error)) = (&help, inner) {
        help = error.help().map(|help| help.to_string());
        inner = error.diagnostic_source();
    }
    (message, help)
}

/// Make a diagnostic of a Cedar error. It has the error's own labels if there are any (their offsets are into the text
/// of `file`), or else the given one.
pub(crate) fn of_cedar(
    severity: Severity,
    file: &SourceFile,
    error: &dyn miette::Diagnostic,
    otherwise: Option<Label>,
) -> Diagnostic {
    let (message, help) = describe(error);
    let mut labels = labels_of(error, &file.text);
    // Cedar gives the place of a JSON error only in words.
    if labels.is_empty() {
        labels.extend(json_position(&message).map(|(line, column)| json_label(&file.text, line, column)));
    }
    if labels.is_empty() {
        labels.extend(otherwise);
    }
    build(severity, file, message, help, labels)
}

/// Make diagnostics of a Cedar error and of all others reported with it.
pub(crate) fn all_of_cedar(severity: Severity, file: &SourceFile, error: &dyn miette::Diagnostic) -> Vec<Diagnostic> {
    let mut all = vec![of_cedar(severity, file, error, None)];
    all.extend(error.related().into_iter().flatten().map(|related| of_cedar(severity, file, related, None)));
    all
}

/// Make a diagnostic of an error of `serde_json`.
pub(crate) fn of_json(file: &SourceFile, what: &str, error: &serde_json::Error) -> Diagnostic {
    let label = json_label(&file.text, error.line(), error.column());
    build(Severity::Error, file, format!("{what}: {error}"), None, vec![label])
}

/// Make a diagnostic of our own.
pub(crate) fn build(
    severity: Severity,
    file: &SourceFile,
    message: String,
    help: Option<String>,
    labels: Vec<Label>,
) -> Diagnostic {
    build_in(severity, (file, &Lines::of(&file.text)), message, help, labels)
}

/// Make a diagnostic as [`build`] does, where the file's lines are known: that does not walk through the file.
pub(crate) fn build_in(
    severity: Severity,
    (file, lines): (&SourceFile, &Lines),
    message: String,
    help: Option<String>,
    mut labels: Vec<Label>,
) -> Diagnostic {
    for label in &mut labels {
        clamp(&file.text, label);
    }
    let start = labels.first().map(|label| lines.position(&file.text, label.start));
    let end = labels.first().map(|label| lines.position(&file.text, label.start + label.len));
    let report = Report {
        severity,
        message: &message,
        help: help.as_deref(),
        source: (!labels.is_empty()).then(|| Excerpt::of(file, lines, &labels)),
        labels: &labels,
    };
    let mut rendered = String::new();
    let mut theme = GraphicalTheme::none();
    // The theme draws a bar where the label's text hangs, so a single character would get no caret at all.
    theme.characters.underbar = '^';
    let handler = GraphicalReportHandler::new_themed(theme).with_links(false).with_width(100);
    let long = labels.first().filter(|label| longest_line(&file.text, label) > MAX_LINE);
    if let Some(label) = long {
        let place = lines.position(&file.text, label.start);
        rendered = excerpt(file, place, &message, help.as_deref(), label);
    } else if handler.render_report(&mut rendered, &report).is_err() {
        // The handler refuses only spans outside the text, and these were clamped. If it fails, the plain message must
        // do.
        rendered = format!("{message}\n");
    }
    if labels.is_empty() {
        rendered = format!("{}: {}", shown(&file.name), rendered.trim_start());
    }
    Diagnostic {
        severity,
        file: file.name.clone(),
        line: start.map(|p| p.0),
        column: start.map(|p| p.1),
        end_line: end.map(|p| p.0),
        end_column: end.map(|p| p.1),
        message,
        help,
        rendered,
    }
}

/// The longest line that the report handler shows in full. (It panics on lines of more than 65,535 characters.)
const MAX_LINE: usize = 400;
/// The characters shown on either side of the offending text in a longer line.
const AROUND: usize = 30;

/// Return the length of the longest line that the handler would show: of the label's lines and their neighbours.
fn longest_line(text: &str, label: &Label) -> usize {
    let before = text.get(..label.start).unwrap_or_default();
    let start = before.rfind('\n').and_then(|line| before.get(..line)?.rfind('\n')).unwrap_or(0);
    let end = label.start + label.len;
    let newlines = text.get(end..).unwrap_or_default().match_indices('\n');
    let end = newlines.map(|(at, _)| end + at).nth(1).unwrap_or(text.len());
    text.get(start..end).unwrap_or_default().lines().map(str::len).max().unwrap_or(0)
}

/// Render what the report handler would show, with a part of the line only.
fn excerpt(file: &SourceFile, (line, column): (u32, u32), message: &str, help: Option<&str>, label: &Label) -> String {
    let before = file.text.get(..label.start).unwrap_or_default().lines().next_back().unwrap_or_default();
    let from = before.char_indices().nth_back(AROUND).map_or(0, |(at, _)| at);
    let lead = before.get(from..).unwrap_or_default().replace('\r', " ");
    let rest = file.text.get(label.start..).unwrap_or_default().lines().next().unwrap_or_default();
    let marked = rest.get(..label.len.min(rest.len())).unwrap_or(rest).chars().take(AROUND).count().max(1);
    let part: String = rest.chars().take(marked + AROUND).map(|c| if c == '\r' { ' ' } else { c }).collect();
    let number = line.to_string();
    let gap = " ".repeat(number.len());
    let dots = if from > 0 { "..." } else { "" };
    let indent = " ".repeat(dots.len() + lead.chars().count());
    let mut out = format!(
        "  x {message}\n {gap} ,-[{}:{line}:{column}]\n {number} | {dots}{lead}{part}\n {gap} : {indent}{}",
        shown(&file.name),
        "^".repeat(marked),
    );
    if let Some(text) = &label.text {
        out.extend([" ", text]);
    }
    out.extend(["\n ", &gap, " `----\n"]);
    if let Some(help) = help {
        out.extend(["  help: ", help, "\n"]);
    }
    out
}

/// Where the lines of a text begin, so that the line of a place is found without a walk through the text.
#[derive(Debug)]
pub(crate) struct Lines(Vec<usize>);

impl Lines {
    pub(crate) fn of(text: &str) -> Self {
        let others = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
        Self(std::iter::once(0).chain(others).collect())
    }

    /// Return the number, from 0, of the line that a byte is in.
    fn line(&self, offset: usize) -> usize {
        self.0.partition_point(|start| *start <= offset).saturating_sub(1)
    }

    /// Return where a line begins; the end of the text for one behind the last.
    fn start(&self, text: &str, line: usize) -> usize {
        self.0.get(line).copied().unwrap_or(text.len())
    }

    /// Return the line and column (in characters), from 1, of a byte of the text.
    fn position(&self, text: &str, offset: usize) -> (u32, u32) {
        let line = self.line(offset);
        let before = text.get(self.start(text, line)..offset).unwrap_or_default();
        let column = before.chars().count() + 1;
        (u32::try_from(line + 1).unwrap_or(u32::MAX), u32::try_from(column).unwrap_or(u32::MAX))
    }
}

/// The lines that labels point to and those around them, with their places in the whole file.
#[derive(Debug)]
struct Excerpt {
    name: String,
    text: String,
    /// The place of the text's first byte in the file, and the number of its line, from 0.
    start: usize,
    line: usize,
}

impl Excerpt {
    /// The lines before and behind the labels. The handler shows one; an end of a line may belong to either.
    const AROUND: usize = 2;

    fn of(file: &SourceFile, lines: &Lines, labels: &[Label]) -> Self {
        let first = labels.iter().map(|label| label.start).min().unwrap_or_default();
        let last = labels.iter().map(|label| label.start + label.len).max().unwrap_or_default();
        let line = lines.line(first).saturating_sub(Self::AROUND);
        let start = lines.start(&file.text, line);
        let end = lines.start(&file.text, lines.line(last) + Self::AROUND + 1);
        // A terminal moves to the start of the line at a carriage return.
        let text = file.text.get(start..end).unwrap_or_default().replace('\r', " ");
        Self { name: shown(&file.name).into_owned(), text, start, line }
    }
}

impl SourceCode for Excerpt {
    fn read_span<'a>(
        &'a self,
        span: &SourceSpan,
        before: usize,
        behind: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        let at = span.offset().checked_sub(self.start).ok_or(MietteError::OutOfBounds)?;
        let found = self.text.as_str().read_span(&(at, span.len()).into(), before, behind)?;
        let place = (found.span().offset() + self.start, found.span().len()).into();
        let (line, column, count) = (found.line() + self.line, found.column(), found.line_count());
        let name = self.name.clone();
        Ok(Box::new(MietteSpanContents::new_named(name, found.data(), place, line, column, count)))
    }
}

/// Return the line and column (in characters), from 1, of a byte of a text.
pub(crate) fn position(text: &str, offset: usize) -> (u32, u32) {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |i| i + 1);
    let line = before.bytes().filter(|b| *b == b'\n').count() + 1;
    let column = before.get(line_start..).unwrap_or_default().chars().count() + 1;
    (u32::try_from(line).unwrap_or(u32::MAX), u32::try_from(column).unwrap_or(u32::MAX))
}

/// Return the labels of an error, or of the nearest of its causes that has any; the most important one comes first.
fn labels_of(error: &dyn miette::Diagnostic, text: &str) -> Vec<Label> {
    let mut next = Some(error);
    while let Some(error) = next {
        let mut spans: Vec<LabeledSpan> = error.labels().into_iter().flatten().collect();
        if !spans.is_empty() {
            // An error inside a JSON string has offsets into that string, which are of no use here.
            if !error.source_code().is_some_and(|source| is_text(source, text)) {
                return Vec::new();
            }
            spans.sort_by_key(|span| !span.primary());
            return spans
                .iter()
                .map(|span| Label { start: span.offset(), len: span.len(), text: span.label().map(str::to_owned) })
                .collect();
        }
        next = error.diagnostic_source();
    }
    Vec::new()
}

/// Return whether a source of offsets is this text.
fn is_text(source: &dyn miette::SourceCode, text: &str) -> bool {
    // An empty span with all following lines: the whole text.
    source.read_span(&(0, 0).into(), 0, usize::MAX).is_ok_and(|all| all.data() == text.as_bytes())
}

/// Find the "at line 3 column 14" with which `serde_json` ends its messages.
fn json_position(message: &str) -> Option<(usize, usize)> {
    let (_, rest) = message.rsplit_once(" at line ")?;
    let (line, rest) = rest.split_once(" column ")?;
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    Some((line.parse().ok()?, rest.get(..digits)?.parse().ok()?))
}

/// Make a label from `serde_json`'s position. It counts lines from 1 and columns in bytes; the column is that of the
/// last byte read, 0 at the start of a line.
fn json_label(text: &str, line: usize, column: usize) -> Label {
    let start = text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum::<usize>();
    Label::new(start + column.saturating_sub(1), 1)
}

/// Keep a label within its text and between characters, and make it at least one character long.
fn clamp(text: &str, label: &mut Label) {
    if label.len == 0 {
        // Nothing stands at the end of a text, so the last character before it is shown.
        let end = text.trim_end().len();
        label.start = label.start.min(end.saturating_sub(1));
        label.len = 1;
    }
    let mut start = label.start.min(text.len());
    while !text.is_char_boundary(start) {
        start -= 1;
    }
    let mut end = label.start.saturating_add(label.len).clamp(start, text.len());
    while !text.is_char_boundary(end) {
        end += 1;
    }
    label.start = start;
    label.len = end - start;
}

/// The data for the report handler.
#[derive(Debug)]
struct Report<'a> {
    severity: Severity,
    message: &'a str,
    help: Option<&'a str>,
    source: Option<Excerpt>,
    labels: &'a [Label],
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message)
    }
}

impl std::error::Error for Report<'_> {}

impl miette::Diagnostic for Report<'_> {
    fn severity(&self) -> Option<miette::Severity> {
        Some(match self.severity {
            Severity::Error => miette::Severity::Error,
            Severity::Warning => miette::Severity::Warning,
        })
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.help.map(|help| Box::new(help) as _)
    }

    fn source_code(&self) -> Option<&dyn miette::SourceCode> {
        self.source.as_ref().map(|source| source as _)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let spans = self.labels.iter().enumerate().map(|(i, label)| {
            let span = (label.start, label.len);
            if i == 0 {
                LabeledSpan::new_primary_with_span(label.text.clone(), span)
            } else {
                LabeledSpan::new_with_span(label.text.clone(), span)
            }
        });
        Some(Box::new(spans))
    }
}

/// Return whether one of these refuses what was read.
pub(crate) fn refused(diagnostics: &[Diagnostic]) -> bool {
    diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error)
}
