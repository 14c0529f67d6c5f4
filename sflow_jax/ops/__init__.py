"""Pure array operators: functions of arrays, without state or configuration."""
