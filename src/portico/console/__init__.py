"""What a person sees in the browser. It reads and acts only through the API, as the person who looks.

Its process starts with the first page and ends when nobody looks (`doors.console`, `process`).
"""
