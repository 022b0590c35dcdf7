"""Run by Alembic, within the transaction that `database.migrate` began."""

from alembic import context

from cannabis_ml.feedback.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,  # SQLite alters a table by copying it
)
with context.begin_transaction():
    context.run_migrations()
