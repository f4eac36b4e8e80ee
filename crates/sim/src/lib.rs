//! Tests of the whole: links that cut, servers that die, clocks that lie.
