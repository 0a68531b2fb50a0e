//! Owns what SQL can do with a visitors' sketch: merge it and estimate from it.
//!
//! Knows Apache DataSketches' HLL and DataFusion's aggregates. Promises: a null sketch adds nothing,
//! no sketch at all counts zero visitors, and bytes that are no sketch are an error and not a guess.
//! Never learns who a visitor is: a sketch does not hold that.

use super::trends::SKETCH_LG_K;
use arrow::array::{ArrayRef, Int64Array};
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::cast::as_binary_array;
use datafusion::common::{Result, ScalarValue, exec_datafusion_err};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, ColumnarValue, ScalarUDF, Signature, Volatility, create_udf,
};
use datasketches::hll::{HllSketch, HllType, HllUnion};
use std::sync::Arc;

/// `visitors(sketch)`: how many visitors any of the sketches counts.
pub fn visitors() -> AggregateUDF {
    AggregateUDF::from(Merge::new("visitors", Answer::Estimate))
}

/// `merge_visitors(sketch)`: one sketch that counts whoever any of the sketches counts.
pub fn merge_visitors() -> AggregateUDF {
    AggregateUDF::from(Merge::new("merge_visitors", Answer::Sketch))
}

/// `estimate(sketch)`: how many visitors one sketch counts, row by row.
pub fn estimate() -> ScalarUDF {
    let each = |arguments: &[ColumnarValue]| {
        let columns = ColumnarValue::values_to_arrays(arguments)?;
        let Some(sketches) = columns.first() else {
            return Err(exec_datafusion_err!("estimate(sketch) needs a sketch"));
        };
        let counts = as_binary_array(sketches)?
            .iter()
            .map(|bytes| bytes.map(|bytes| sketch(bytes).map(|sketch| whole(sketch.estimate()))).transpose())
            .collect::<Result<Int64Array>>()?;
        Ok(ColumnarValue::Array(Arc::new(counts)))
    };
    create_udf("estimate", vec![DataType::Binary], DataType::Int64, Volatility::Immutable, Arc::new(each))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Answer {
    Estimate,
    Sketch,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Merge {
    name: &'static str,
    answer: Answer,
    signature: Signature,
}

impl Merge {
    fn new(name: &'static str, answer: Answer) -> Self {
        Self { name, answer, signature: Signature::exact(vec![DataType::Binary], Volatility::Immutable) }
    }
}

impl AggregateUDFImpl for Merge {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(match self.answer {
            Answer::Estimate => DataType::Int64,
            Answer::Sketch => DataType::Binary,
        })
    }

    fn state_fields(&self, arguments: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        Ok(vec![Arc::new(Field::new(format!("{}[sketch]", arguments.name), DataType::Binary, true))])
    }

    fn accumulator(&self, _: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(Merged { answer: self.answer, union: None }))
    }

    fn default_value(&self, _: &DataType) -> Result<ScalarValue> {
        Merged { answer: self.answer, union: None }.evaluate()
    }
}

/// The union so far. Its size is that of its contents: 40 bytes for one visitor, 4 KiB at most.
#[derive(Debug)]
struct Merged {
    answer: Answer,
    union: Option<HllUnion>,
}

impl Merged {
    fn bytes(&self) -> ScalarValue {
        ScalarValue::Binary(self.union.as_ref().map(|union| union.to_sketch(HllType::Hll8).serialize()))
    }
}

impl Accumulator for Merged {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        for sketches in values {
            for bytes in as_binary_array(sketches)?.iter().flatten() {
                let sketch = sketch(bytes)?;
                if self.union.is_none() {
                    self.union = Some(HllUnion::new(SKETCH_LG_K).map_err(|error| exec_datafusion_err!("{error}"))?);
                }
                if let Some(union) = &mut self.union {
                    union.update(&sketch);
                }
            }
        }
        Ok(())
    }

    /// A state is a sketch like any other.
    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.update_batch(states)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![self.bytes()])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(match self.answer {
            Answer::Estimate => ScalarValue::Int64(Some(self.union.as_ref().map_or(0, |union| whole(union.estimate())))),
            Answer::Sketch => self.bytes(),
        })
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.union.as_ref().map_or(0, HllUnion::estimated_size)
    }
}

fn sketch(bytes: &[u8]) -> Result<HllSketch> {
    HllSketch::deserialize(bytes).map_err(|error| {
        exec_datafusion_err!("{} bytes that are no visitors' sketch (HLL of Apache DataSketches): {}", bytes.len(), error.message())
    })
}

/// An estimate as the whole number it stands for. Casting saturates, and makes zero of what is no number.
fn whole(estimate: f64) -> i64 {
    estimate.round() as i64
}
