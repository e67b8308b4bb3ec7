//! What programs read of `event.data`: where that is a set of paths that are known, a document need not be parsed as a
//! whole, since what lies beside them makes no difference.

use std::sync::Arc;

use crate::code::{Base, Code, Field, Node, Op, Step, StepKind};

/// The parts of `event.data` that a program reads, or several programs read together.
///
/// [`Doc::parse_part`](crate::json::Doc::parse_part) makes a document of them. A program gives the same result with it as
/// with the whole document.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reads {
    pub(crate) root: Wanted,
}

/// What is read of a value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// All of it. The rest is empty then.
    pub(crate) all: bool,
    pub(crate) members: Vec<(Arc<str>, Wanted)>,
    /// Elements by their position, in the order of that.
    pub(crate) elements: Vec<(usize, Wanted)>,
}

impl Reads {
    /// Whether the document is read as a whole, or in a way that is not known before: by an index that is computed, or by a
    /// name that holds it.
    pub fn is_whole(&self) -> bool {
        self.root.all
    }

    /// Whether nothing of the document is read.
    pub fn is_empty(&self) -> bool {
        self.root == Wanted::default()
    }

    /// What is read here or there, for several programs that see the same event.
    #[must_use]
    pub fn and(mut self, other: &Self) -> Self {
        self.root.join(&other.root);
        self
    }

    pub(crate) fn of_code(code: &mut Code) -> Self {
        let mut reads = Self::default();
        reads.node(&mut code.main);
        code.functions.iter_mut().for_each(|function| reads.node(&mut function.body));
        reads
    }

    fn node(&mut self, node: &mut Node) {
        match &node.op {
            Op::Field(Field::Data | Field::Event) => self.root = Wanted::all(),
            Op::Path(path) if matches!(path.base, Base::Data) => self.root.add(&path.steps),
            _ => {}
        }
        node.parts(&mut |part| self.node(part));
    }
}

impl Wanted {
    fn all() -> Self {
        Self { all: true, ..Self::default() }
    }

    fn add(&mut self, steps: &[Step]) {
        if self.all {
            return;
        }
        let Some((step, rest)) = steps.split_first() else {
            *self = Self::all();
            return;
        };
        match &step.kind {
            StepKind::Key { key, .. } => self.member(key).add(rest),
            // From the end: how long the array is has to be known.
            StepKind::Index(at) => match usize::try_from(*at) {
                Ok(at) if at <= MOST_ELEMENTS => self.element(at).add(rest),
                _ => *self = Self::all(),
            },
        }
    }

    fn join(&mut self, other: &Self) {
        if self.all || other.all {
            *self = Self::all();
            return;
        }
        for (key, wanted) in &other.members {
            self.member(key).join(wanted);
        }
        for (at, wanted) in &other.elements {
            self.element(*at).join(wanted);
        }
    }

    fn member(&mut self, key: &Arc<str>) -> &mut Self {
        let at = self.members.iter().position(|(own, _)| own == key).unwrap_or_else(|| {
            self.members.push((key.clone(), Self::default()));
            self.members.len() - 1
        });
        &mut self.members[at].1
    }

    fn element(&mut self, position: usize) -> &mut Self {
        let at = self.elements.binary_search_by_key(&position, |(own, _)| *own).unwrap_or_else(|at| {
            self.elements.insert(at, (position, Self::default()));
            at
        });
        &mut self.elements[at].1
    }
}

/// Elements before the one that is read are placeholders, of which there should not be many.
const MOST_ELEMENTS: usize = 1_000;
