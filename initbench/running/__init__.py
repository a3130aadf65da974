"""From a recipe to stored records: plan, workers on this machine or a cluster, inspection."""
