//! How things, groups, attributes and policies may be named (the vendor's API model).

/// A rule for a name or a value.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rule {
    /// What is named.
    pub(crate) what: &'static str,
    /// The shortest, in characters.
    least: usize,
    /// The longest, in characters.
    most: usize,
    /// Which characters besides letters and digits.
    also: &'static str,
}

impl Rule {
    const fn name(what: &'static str, also: &'static str) -> Self {
        Self {
            what,
            least: 1,
            most: 128,
            also,
        }
    }

    /// What is wrong with `text`, if anything.
    pub(crate) fn broken_by(&self, text: &str) -> Option<String> {
        let length = text.chars().count();
        let strange = |c: &char| !c.is_ascii_alphanumeric() && !self.also.contains(*c);
        let what = self.what;
        if length < self.least {
            return Some(format!("{what} is empty"));
        }
        if length > self.most {
            return Some(format!("{what} is longer than {} characters", self.most));
        }
        let found = text.chars().find(strange)?;
        Some(format!(
            "{what} contains {found:?}; besides letters and digits it takes {}",
            self.also
        ))
    }
}

pub(crate) const THING: Rule = Rule::name("a thing's name", ":_-");
pub(crate) const THING_TYPE: Rule = Rule::name("a thing type's name", ":_-");
pub(crate) const GROUP: Rule = Rule::name("a thing group's name", ":_-");
pub(crate) const BILLING_GROUP: Rule = Rule::name("a billing group's name", ":_-");
pub(crate) const ATTRIBUTE: Rule = Rule::name("an attribute's name", "_.,@/:#-");
pub(crate) const ATTRIBUTE_VALUE: Rule = Rule {
    what: "an attribute's value",
    least: 0,
    most: 800,
    also: "_.,@/:#=[]-",
};
pub(crate) const POLICY: Rule = Rule::name("a policy's name", "_+=,.@-");

/// The most attributes of a thing that has no type.
pub(crate) const ATTRIBUTES_WITHOUT_TYPE: usize = 3;
/// The most attributes of a thing that has one.
pub(crate) const ATTRIBUTES_WITH_TYPE: usize = 50;
/// The most groups of a thing.
pub(crate) const GROUPS: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_bounded() {
        for (rule, text, good) in [
            (THING, "dev-1", true),
            (THING, "a:b_C-9", true),
            (THING, "", false),
            (THING, "a b", false),
            (THING, "a/b", false),
            (THING, "ä", false),
            (THING, "a\n", false),
            (ATTRIBUTE, "a.b,c@d/e:f#g-h_i", true),
            (ATTRIBUTE, "a=b", false),
            (ATTRIBUTE_VALUE, "", true),
            (ATTRIBUTE_VALUE, "[a=1]", true),
            (ATTRIBUTE_VALUE, "a b", false),
            (POLICY, "a+b=c,d.e@f-g_h", true),
            (POLICY, "a:b", false),
        ] {
            assert_eq!(
                rule.broken_by(text).is_none(),
                good,
                "{} {text:?}",
                rule.what
            );
        }
        assert!(THING.broken_by(&"a".repeat(128)).is_none());
        assert!(THING.broken_by(&"a".repeat(129)).is_some());
        assert!(ATTRIBUTE_VALUE.broken_by(&"a".repeat(800)).is_none());
        assert!(ATTRIBUTE_VALUE.broken_by(&"a".repeat(801)).is_some());
    }
}
