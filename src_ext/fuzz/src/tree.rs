//! Expressions as text with holes: the generator makes them, and the shrinker takes them apart.

/// An expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tree {
    pub kind: Kind,
    pub parts: Vec<Part>,
}

/// The kind of an expression's result, as far as the shrinker cares: it may replace an expression by another of its
/// kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Bool,
    Long,
    Text,
    Extension,
    Entity,
    Set,
    Record,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Part {
    Text(String),
    Tree(Tree),
}

impl Tree {
    /// Make an expression without parts.
    pub fn leaf(kind: Kind, text: impl Into<String>) -> Self {
        Self { kind, parts: vec![Part::Text(text.into())] }
    }

    /// Make an expression of a pattern in which each `_` stands for the next part.
    pub fn of(kind: Kind, pattern: &str, parts: impl IntoIterator<Item = Self>) -> Self {
        let mut made = Self { kind, parts: Vec::new() };
        let mut parts = parts.into_iter();
        for (at, text) in pattern.split('_').enumerate() {
            if at > 0 {
                made.parts.extend(parts.next().map(Part::Tree));
            }
            made.parts.push(Part::Text(text.to_owned()));
        }
        made
    }

    /// Make an expression of parts with something between them.
    pub fn joined(kind: Kind, open: &str, between: &str, close: &str, parts: Vec<Self>) -> Self {
        let mut made = Self::leaf(kind, open);
        for (at, part) in parts.into_iter().enumerate() {
            if at > 0 {
                made.parts.push(Part::Text(between.to_owned()));
            }
            made.parts.push(Part::Tree(part));
        }
        made.parts.push(Part::Text(close.to_owned()));
        made
    }

    /// Write the text.
    pub fn text(&self) -> String {
        let mut text = String::new();
        self.write(&mut text);
        text
    }

    fn write(&self, out: &mut String) {
        for part in &self.parts {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Tree(tree) => tree.write(out),
            }
        }
    }

    fn children(&self) -> impl Iterator<Item = (usize, &Self)> {
        self.parts.iter().enumerate().filter_map(|(at, part)| match part {
            Part::Tree(tree) => Some((at, tree)),
            Part::Text(_) => None,
        })
    }

    fn descendants<'t>(&'t self, found: &mut Vec<&'t Self>) {
        for (_, child) in self.children() {
            found.push(child);
            child.descendants(found);
        }
    }

    /// Return simpler expressions that may replace this one, the simplest first.
    pub fn simpler(&self) -> Vec<Self> {
        let constants: &[&str] = match self.kind {
            Kind::Bool => &["true", "false"],
            Kind::Long => &["0", "1"],
            Kind::Text => &["\"\""],
            Kind::Set => &["[]"],
            Kind::Record => &["{}"],
            Kind::Extension | Kind::Entity => &[],
        };
        let own = self.text();
        let mut found: Vec<Self> = Vec::new();
        if !constants.contains(&own.as_str()) {
            found.extend(constants.iter().map(|&text| Self::leaf(self.kind, text)));
        }
        let mut below = Vec::new();
        self.descendants(&mut below);
        found.extend(below.into_iter().filter(|tree| tree.kind == self.kind).cloned());
        for (at, child) in self.children() {
            for simpler in child.simpler() {
                let mut changed = self.clone();
                changed.parts[at] = Part::Tree(simpler);
                found.push(changed);
            }
        }
        found
    }
}
