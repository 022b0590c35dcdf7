"""What MLflow asks of names."""


def mlflow_key(name: str) -> str:
    """Spell a metric's name with what MLflow allows: letters, digits and `_-./: `."""
    spelled = name.replace("+", " plus")
    return "".join(c if c.isalnum() or c in "_-./: " else "_" for c in spelled)
