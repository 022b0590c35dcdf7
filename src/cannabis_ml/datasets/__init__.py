"""The catalog types that Kedro lacks."""
