//! The fleet as a file: what `imprint apply` reads, and what differs from what is.

use serde::{Deserialize, Serialize};

use crate::product::{Product, ProductError};

/// The fleet file.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fleet {
    /// Its products.
    #[serde(default, rename = "product")]
    pub products: Vec<Product>,
}

impl Fleet {
    /// Checks every product, and that no name stands twice.
    pub fn check(&self) -> Result<(), ProductError> {
        for (at, product) in self.products.iter().enumerate() {
            product.check()?;
            if self
                .products
                .iter()
                .take(at)
                .any(|other| other.name == product.name)
            {
                return Err(ProductError {
                    product: product.name.clone(),
                    key: "name",
                    reason: "this product stands twice in the file".to_owned(),
                });
            }
        }
        Ok(())
    }

    /// What applying this file would change. Products that the file does not name stay as they are:
    /// a product with devices can't be wished away.
    #[must_use]
    pub fn difference(&self, present: &[Product]) -> Vec<Change> {
        let mut changes = Vec::new();
        for product in &self.products {
            match present.iter().find(|other| other.name == product.name) {
                None => changes.push(Change::New(product.clone())),
                Some(other) if other != product => changes.push(Change::Changed {
                    before: other.clone(),
                    after: product.clone(),
                }),
                Some(_) => {}
            }
        }
        changes
    }
}

/// One difference between the file and what is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A product that is not there yet.
    New(Product),
    /// A product that changes. Certificates that are out keep the shape they have.
    Changed {
        /// As it is.
        before: Product,
        /// As it will be.
        after: Product,
    },
}

impl Change {
    /// The product as it will be.
    #[must_use]
    pub const fn after(&self) -> &Product {
        match self {
            Self::New(product) | Self::Changed { after: product, .. } => product,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn applying_twice_changes_nothing_the_second_time() {
        let fleet = Fleet {
            products: vec![Product::named("a"), Product::named("b")],
        };
        let changes = fleet.difference(&[Product::named("b")]);
        assert_eq!(changes, [Change::New(Product::named("a"))]);
        let present: Vec<_> = fleet.products.clone();
        assert_eq!(fleet.difference(&present), []);
    }

    #[test]
    fn a_product_that_stands_twice_is_refused() {
        let fleet = Fleet {
            products: vec![Product::named("a"), Product::named("a")],
        };
        assert_eq!(fleet.check().map_err(|error| error.key), Err("name"));
    }
}
