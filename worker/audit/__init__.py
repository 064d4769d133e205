"""All stores compared: what each of them knows, and where they differ. The one place that uses every client."""
