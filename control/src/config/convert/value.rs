//! TOML as it is written down: values, keys, and which of them stand on lines of their own.

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Text(String),
    Number(u64),
    Switch(bool),
    List(Vec<Self>),
    Table(Table),
    /// A list with a line for each element, above which comments may stand.
    Lines(Vec<(Vec<String>, String)>),
}

/// Keys and their values in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Table {
    keys: Vec<(String, Value)>,
}

impl Table {
    pub(super) fn put(&mut self, key: impl Into<String>, value: impl Into<Value>) {
        self.keys.push((key.into(), value.into()));
    }

    /// Puts what is set.
    pub(super) fn maybe(&mut self, key: &str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            self.put(key, value);
        }
    }

    /// Puts those that are switched on.
    pub(super) fn flags(&mut self, flags: impl IntoIterator<Item = (&'static str, bool)>) {
        for (key, _) in flags.into_iter().filter(|(_, on)| *on) {
            self.put(key, Value::Switch(true));
        }
    }

    /// Puts a list unless it is empty; one element stands alone.
    pub(super) fn some<T: Into<Value>>(&mut self, key: &str, list: impl IntoIterator<Item = T>) {
        self.maybe(key, Value::some(list));
    }

    /// Puts a table unless it is empty.
    pub(super) fn table(&mut self, key: &str, table: Self) {
        if !table.is_empty() {
            self.put(key, Value::Table(table));
        }
    }

    /// Puts a key before the others.
    pub(super) fn insert(&mut self, key: &str, value: Value) {
        self.keys.insert(0, (key.to_owned(), value));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    /// Writes each key on a line of its own.
    pub(super) fn write_lines(&self, out: &mut String) {
        for (key, value) in &self.keys {
            out.push_str(&self::key(key));
            out.push_str(" = ");
            value.write(out);
            out.push('\n');
        }
    }
}

impl Value {
    /// Makes one or several values: a list, or its only element alone; none of an empty one.
    pub(super) fn some<T: Into<Self>>(list: impl IntoIterator<Item = T>) -> Option<Self> {
        let mut list: Vec<Self> = list.into_iter().map(Into::into).collect();
        if list.len() > 1 { Some(Self::List(list)) } else { list.pop() }
    }

    pub(super) fn write(&self, out: &mut String) {
        match self {
            Self::Text(text) => out.push_str(&quoted(text)),
            Self::Number(number) => out.push_str(&number.to_string()),
            Self::Switch(on) => out.push_str(if *on { "true" } else { "false" }),
            Self::List(list) => {
                out.push('[');
                for (index, value) in list.iter().enumerate() {
                    out.push_str(if index > 0 { ", " } else { "" });
                    value.write(out);
                }
                out.push(']');
            }
            Self::Table(table) if table.is_empty() => out.push_str("{}"),
            Self::Table(table) => {
                for (index, (key, value)) in table.keys.iter().enumerate() {
                    out.push_str(if index > 0 { ", " } else { "{ " });
                    out.push_str(&self::key(key));
                    out.push_str(" = ");
                    value.write(out);
                }
                out.push_str(" }");
            }
            Self::Lines(lines) => {
                out.push_str("[\n");
                for (comments, text) in lines {
                    for comment in comments {
                        out.push_str(&format!("  {comment}\n"));
                    }
                    out.push_str(&format!("  {},\n", quoted(text)));
                }
                out.push(']');
            }
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Self {
        Self::Number(number.into())
    }
}

impl From<u16> for Value {
    fn from(number: u16) -> Self {
        Self::Number(number.into())
    }
}

impl From<u8> for Value {
    fn from(number: u8) -> Self {
        Self::Number(number.into())
    }
}

impl From<bool> for Value {
    fn from(on: bool) -> Self {
        Self::Switch(on)
    }
}

impl From<Table> for Value {
    fn from(table: Table) -> Self {
        Self::Table(table)
    }
}

/// Writes a key, in quotes where it needs them.
pub(super) fn key(name: &str) -> String {
    let is_bare = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    if is_bare { name.to_owned() } else { quoted(name) }
}

/// Writes a text in quotes: as it is where that is easier to read.
fn quoted(text: &str) -> String {
    let is_plain = !text.contains(|c: char| c.is_control() || c == '\'');
    if is_plain && text.contains(['"', '\\']) {
        return format!("'{text}'");
    }
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_text_is_read_as_it_was(name in any::<String>(), text in any::<String>()) {
            let mut table = Table::default();
            table.put(name.clone(), text.clone());
            let mut out = String::new();
            table.write_lines(&mut out);
            let read = ::toml::de::DeTable::parse(&out).expect("this is TOML");
            let (read_name, read_text) = read.get_ref().iter().next().expect("it has a key");
            prop_assert_eq!(read_name.get_ref().as_ref(), name.as_str());
            prop_assert_eq!(read_text.get_ref().as_str(), Some(text.as_str()));
        }
    }
}
