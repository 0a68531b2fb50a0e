//! Owns who may see which rows: what is out of an answer for whom.
//!
//! Knows suppressions and DataFusion's functions. Promises: where nobody is suppressed nothing is
//! asked of any row; where a suppression cannot be read, nothing is shown at all. One hash a change of
//! visitor: in a compacted file a visitor's rows lie together.

use crate::hit::field::Id;
use crate::rules::suppression::{Standing, Suppressions};
use arrow::array::{Array, BooleanArray, StringViewArray};
use arrow::datatypes::DataType;
use datafusion::common::cast::as_string_view_array;
use datafusion::common::exec_datafusion_err;
use datafusion::logical_expr::{ColumnarValue, ScalarUDF, Volatility, create_udf};
use std::fmt;
use std::sync::Arc;

/// Who asks, and so whose rows are there to be seen.
#[derive(Clone)]
pub enum Audience {
    /// Everybody: rows of the erased, the restricted and the contested are not there.
    Anyone(Arc<Suppressions>),
    /// A person about their own data: just the erased are gone (a restriction does not bar access, GDPR Art. 15 and 18).
    Subject(Arc<Suppressions>),
    /// Maintenance, which has to find what must go.
    Maintenance,
}

impl fmt::Debug for Audience {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Anyone(_) => "Anyone",
            Self::Subject(_) => "Subject",
            Self::Maintenance => "Maintenance",
        })
    }
}

impl Audience {
    /// `is_hidden(site, visitor_id)`: whether a row is not there for this audience. `None` where all rows
    /// are.
    pub fn is_hidden(&self) -> Option<ScalarUDF> {
        let (suppressions, test): (&Arc<Suppressions>, fn(Standing) -> bool) = match self {
            Self::Anyone(suppressions) => (suppressions, Standing::is_hidden),
            Self::Subject(suppressions) => (suppressions, |standing| standing.erased),
            Self::Maintenance => return None,
        };
        if suppressions.is_empty() {
            return None;
        }
        let suppressions = suppressions.clone();
        let each = move |arguments: &[ColumnarValue]| {
            let columns = ColumnarValue::values_to_arrays(arguments)?;
            let [sites, visitors] = columns.as_slice() else {
                return Err(exec_datafusion_err!("is_hidden(site, visitor_id) needs both"));
            };
            let hidden = hidden(&suppressions, test, as_string_view_array(sites)?, as_string_view_array(visitors)?);
            Ok(ColumnarValue::Array(Arc::new(hidden)))
        };
        Some(create_udf("is_hidden", vec![DataType::Utf8View, DataType::Utf8View], DataType::Boolean, Volatility::Immutable, Arc::new(each)))
    }

    /// So many suppressions cannot be read here: see `Suppressions::unreadable`.
    pub fn unreadable(&self) -> usize {
        match self {
            Self::Anyone(suppressions) | Self::Subject(suppressions) => suppressions.unreadable(),
            Self::Maintenance => 0,
        }
    }
}

fn hidden(suppressions: &Suppressions, test: fn(Standing) -> bool, sites: &StringViewArray, visitors: &StringViewArray) -> BooleanArray {
    let mut last: Option<(&str, &str, bool)> = None;
    let of_row = |row: usize| {
        if visitors.is_null(row) {
            return false;
        }
        let (site, visitor) = (sites.value(row), visitors.value(row));
        if let Some((known_site, known, hidden)) = last
            && known == visitor
            && known_site == site
        {
            return hidden;
        }
        let hidden = Id::parse(visitor.as_bytes()).is_some_and(|visitor| test(suppressions.standing(site, visitor)));
        last = Some((site, visitor, hidden));
        hidden
    };
    BooleanArray::from((0..visitors.len()).map(of_row).collect::<Vec<bool>>())
}
