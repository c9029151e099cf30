"""Building blocks of a fine-tuning pipeline; nothing in here but `components.tasks` knows Prefect."""
