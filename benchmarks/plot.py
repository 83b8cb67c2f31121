def picture(report):
    return ""
