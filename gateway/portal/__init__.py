"""The setup portal: pages for a customer's administrator, who was sent a link.

Rules:
- The address opens a page and nothing else. What lets somebody work is a cookie of one browser,
  given for the recipient's address and the phrase.
- What a page reads and changes of a tenant, it does by operations of the admin API, of the link's
  tenant and parts only (``reach``).
- A name in an address is one of a closed list. Nothing of a tenant or an identity provider is
  markup.
"""
