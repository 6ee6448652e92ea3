//! A selector as the proof sees it: blocks of text between delimiters.

use crate::domain::permission::is_delimiter;
use crate::domain::template::outline::Piece;
use crate::domain::template::outline::Sketch;

pub(super) const TENANT: &str = "tenant.id";

/// All values but the tenant are alike here: each may be whatever a selector takes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Atom {
    /// Bytes of UTF-8. Texts are equal, or begin with each other, exactly as their bytes do.
    Literal(Box<[u8]>),
    Tenant,
    Value,
}

/// What stands between two delimiters, which no tenant id and no value can hold.
pub(super) type Block = Vec<Atom>;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Text {
    pub(super) prefix: bool,
    /// Never empty; the delimiters stand between them.
    pub(super) blocks: Vec<Block>,
    pub(super) delimiters: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Shape {
    All,
    Text(Text),
}

impl From<&Sketch> for Shape {
    fn from(sketch: &Sketch) -> Self {
        let Sketch::Text { prefix, pieces } = sketch else { return Self::All };
        let (mut blocks, mut delimiters, mut block) = (Vec::new(), Vec::new(), Block::new());
        for piece in pieces {
            match piece {
                Piece::Literal(text) => {
                    let mut rest = &**text;
                    while let Some((before, after)) = rest.split_once(is_delimiter) {
                        let delimiter = rest.as_bytes().get(before.len());
                        delimiters.extend(delimiter);
                        push_literal(&mut block, before);
                        blocks.push(std::mem::take(&mut block));
                        rest = after;
                    }
                    push_literal(&mut block, rest);
                }
                Piece::Value(path) if **path == *TENANT => block.push(Atom::Tenant),
                Piece::Value(_) => block.push(Atom::Value),
            }
        }
        blocks.push(block);
        Self::Text(Text { prefix: *prefix, blocks, delimiters })
    }
}

impl Shape {
    /// As a prefix, up to the delimiter after the first block that holds the tenant and no value.
    pub(super) fn beginning(&self) -> Option<Self> {
        let Self::Text(text) = self else { return None };
        let separates =
            |block: &Block| block.contains(&Atom::Tenant) && !block.contains(&Atom::Value);
        let closed = text.blocks.iter().take(text.delimiters.len());
        let end = closed.into_iter().position(separates)?;
        let mut blocks: Vec<Block> = text.blocks.iter().take(end + 1).cloned().collect();
        blocks.push(Block::new());
        let delimiters = text.delimiters.iter().take(end + 1).copied().collect();
        Some(Self::Text(Text { prefix: true, blocks, delimiters }))
    }
}

fn push_literal(block: &mut Block, text: &str) {
    if !text.is_empty() {
        block.push(Atom::Literal(text.as_bytes().into()));
    }
}

/// How long a block is: `fixed` bytes, some tenant ids and some values.
#[derive(Clone, Copy, Debug)]
pub(super) struct Size {
    fixed: usize,
    pub(super) tenants: usize,
    pub(super) values: usize,
}

impl Size {
    pub(super) fn of(block: &[Atom]) -> Self {
        let mut size = Self { fixed: 0, tenants: 0, values: 0 };
        for atom in block {
            match atom {
                Atom::Literal(text) => size.fixed += text.len(),
                Atom::Tenant => size.tenants += 1,
                Atom::Value => size.values += 1,
            }
        }
        size
    }
    /// With a tenant id of this length.
    pub(super) const fn least(self, tenant: usize) -> usize {
        self.fixed + self.tenants * tenant + self.values
    }
    pub(super) const fn most(self, tenant: usize) -> usize {
        self.fixed + self.tenants * tenant + self.values * MAX_VALUE
    }
}

/// The longest value that a selector takes.
pub(super) const MAX_VALUE: usize = 128;

/// What a value in a selector may hold.
pub(super) const fn is_value_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'@' | b'+' | b'-')
}
