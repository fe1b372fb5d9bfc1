"""From where a number format pays on a machine: layers timed one by one."""
