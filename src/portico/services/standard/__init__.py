"""What every collection does alike: filters, orders, masks, pages (Google's API Improvement Proposals)."""
